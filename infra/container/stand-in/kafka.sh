#!/bin/bash
# Kafka's stock image, as far as compose.yaml and the tests use it: settings from KAFKA_… variables, the folder formatted
# once, the broker in the foreground.
set -eu
properties=/tmp/server.properties
: > "$properties"
while IFS='=' read -r name value; do
    case $name in
    KAFKA_HEAP_OPTS) ;;
    KAFKA_*) name=${name#KAFKA_}; name=${name,,}; echo "${name//_/.}=$value" >> "$properties" ;;
    esac
done < <(env)
run=(java ${KAFKA_HEAP_OPTS:--Xmx512m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    -Dlog4j2.configurationFile=/opt/kafka/libs/log4j2.properties -cp '/opt/kafka/libs/*')
data=${KAFKA_LOG_DIRS:-/tmp/kraft-combined-logs}
[ -e "$data/meta.properties" ] ||
    "${run[@]}" kafka.tools.StorageTool format -t "${CLUSTER_ID:-headgate-stand-in-0001}" -c "$properties"
exec "${run[@]}" kafka.Kafka "$properties"
