#!/usr/bin/env bash
# Finds what `make setup` needs: prints the path of a fit Python, or says in one line what is missing and how to get it.
set -eu

missing() {
    echo "missing: $1; install it (Debian: apt-get install -y $2)" >&2
    exit 1
}

python=
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if python=$("$candidate" -c 'import sys; print(sys.executable); sys.exit(sys.version_info < (3, 11))' 2>/dev/null)
    then break; else python=; fi
done
[ -n "$python" ] || missing "Python 3.11 or newer" "python3 python3-venv"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing "the venv module of $python" python3-venv

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
version=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/.*java\.specification\.version = //p') || true
[ -n "$version" ] || missing "Java 17 or newer" default-jre-headless
[ "${version%%.*}" -ge 17 ] || missing "Java 17 or newer (found $version)" default-jre-headless

command -v mvn >/dev/null || missing "Maven (mvn)" maven

echo "$python"
