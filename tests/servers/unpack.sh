#!/bin/sh
# unpack.sh TARGET PACKAGE…: Debian packages into a folder, with the libraries that this
# machine lacks. Nothing is installed, no maintainer script runs, no root is needed.
set -eu
target=$1
shift

libraries_of() { # what the packages given depend on, libraries only
  apt-cache depends --no-recommends --no-suggests "$@" | sed -n 's/^ *Depends: \(lib[^<]*\)$/\1/p'
}

lacking() { # which of the packages given are not installed
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done | sort -u
}

wanted="$*"
fresh=$(lacking $(libraries_of "$@"))
while [ -n "$fresh" ]; do
  wanted="$wanted $fresh"
  fresh=$(lacking $(libraries_of $fresh) | grep -vxF "$(printf '%s\n' $wanted)" || true)
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root $wanted)
for package in "$work"/*.deb; do
  dpkg-deb -x "$package" "$work/root"
done
chmod -R go+rX "$work/root"
mkdir -p "$(dirname "$target")"
mv "$work/root" "$target"
