#!/bin/sh
# Provides nng >= 1.10: from the system where its libnng-dev is new enough; else Debian 13's
# static library is unpacked into the folder named, and the system is left as it was.
# Older releases abort on a hostile frame length and deadlock when closed under traffic.
set -eu
prefix=$1
least=1.10
suite=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg

new_enough() { [ -n "$1" ] && dpkg --compare-versions "$1" ge "$least"; }

[ -f "$prefix/done" ] && exit 0
installed=$(dpkg-query -W -f '${Version}' libnng-dev 2>/dev/null || true)
candidate=$(apt-cache policy libnng-dev | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p')
if new_enough "$installed" || new_enough "$candidate"; then
    exec sh "$(dirname "$0")/deps.sh" libnng-dev libmbedtls-dev
fi

# The mirror this machine already uses, never one of our own choosing.
mirror=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Created-By: Packages' | grep -v security | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "no Debian mirror in the configuration of apt" >&2; exit 1; }
[ -f "$keys" ] || { echo "missing $keys (package debian-archive-keyring)" >&2; exit 1; }

echo "unpacking nng of Debian $suite into $prefix"
rm -rf "$prefix"
mkdir -p "$prefix/apt/lists/partial" "$prefix/apt/cache/archives/partial" "$prefix/apt/debs"
apt=$(cd "$prefix/apt" && pwd)
echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
private() {
    apt-get -qq -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root "$@"
}
private update
(cd "$apt/debs" && private download libnng-dev libmbedtls-dev >/dev/null)
for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$prefix"; done
rm -rf "$apt"
touch "$prefix/done"
