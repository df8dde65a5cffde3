"""What the image and compose.yaml are made with; nothing of Headgate imports it."""
