#!/usr/bin/env bash
# Images for a machine that cannot pull any: a base from Debian's packages, and stand-ins for stock images: Kafka's and
# ClickHouse's of the jars and the engine that the local stack runs on, Prometheus's of Debian's package. For trying compose.yaml
# and the tests on containers; as root, with debootstrap, a Docker daemon, and `make setup` done.
#
#   infra/container/stand-in/make.sh FOLDER
#
# FOLDER takes the base (some 450 MB). Afterwards the environment that it prints has compose.yaml and the tests use them.
set -euo pipefail
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
base=$folder/base

if [ ! -e "$base/.made" ]; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,openjdk-17-jre-headless,wget \
        bookworm "$base"
    # Whatever certificates and index this machine's pip trusts, the builds inside need too.
    cp /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$base/etc/pip.conf"
    rm -rf "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
    touch "$base/.made"
fi

# One layer each: the storage driver that works everywhere, vfs, copies a layer for every next one.
slim=(--exclude=./usr/lib/jvm --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./usr/share/man)
tar -C "$base" "${slim[@]}" -c . | docker import - headgate-base:3.11 >/dev/null

mkdir -p "$folder/kafka"
cp -al "$base/." "$folder/kafka" 2>/dev/null || cp -a "$base/." "$folder/kafka"
mkdir -p "$folder/kafka/opt/kafka/libs"
cp "$root"/.venv/kafka/*.jar "$root/infra/local/log4j2.properties" "$folder/kafka/opt/kafka/libs/"
install -m 755 "$here/kafka.sh" "$folder/kafka/opt/kafka/run.sh"
tar -C "$folder/kafka" -c . |
    docker import --change 'ENTRYPOINT ["/opt/kafka/run.sh"]' - headgate-stand-in-kafka:4.1.1 >/dev/null
rm -rf "$folder/kafka"

mkdir -p "$folder/prometheus"
cp -al "$base/." "$folder/prometheus" 2>/dev/null || cp -a "$base/." "$folder/prometheus"
(cd "$folder" && apt-get download prometheus)
dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -C "$folder/prometheus" -x ./usr/bin/prometheus
mkdir "$folder/prometheus/prometheus"
tar -C "$folder/prometheus" "${slim[@]}" -c . |
    docker import --change 'ENTRYPOINT ["prometheus"]' \
        --change 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]' \
        - headgate-stand-in-prometheus:2.42 >/dev/null
rm -rf "$folder/prometheus" "$folder"/prometheus_*.deb

docker build --network host --build-arg BASE=headgate-base:3.11 --file "$here/clickhouse.Dockerfile" \
    --tag headgate-stand-in-clickhouse:1 "$root"

cat <<END
export HEADGATE_IMAGE_KAFKA=headgate-stand-in-kafka:4.1.1 HEADGATE_IMAGE_CLICKHOUSE=headgate-stand-in-clickhouse:1
export HEADGATE_IMAGE_PROMETHEUS=headgate-stand-in-prometheus:2.42
docker build --network host --build-arg BASE=headgate-base:3.11 --file infra/Dockerfile --target demo --tag headgate:demo .
END
