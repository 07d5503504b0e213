#!/bin/sh
# Unpacks valkey-server of Debian's backports into the folder named; the system is left as it was.
# Where it cannot be had, says so and succeeds: the bench then runs without that peer.
set -u
prefix=$1
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")-backports
keys=/usr/share/keyrings/debian-archive-keyring.gpg

command -v valkey-server >/dev/null && exit 0
[ -f "$prefix/done" ] && exit 0
skip() { echo "bench without valkey: $1"; rm -rf "$prefix"; exit 0; }

# The mirror this machine already uses, never one of our own choosing.
mirror=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Created-By: Packages' | grep -v security | sort -u | head -n 1)
[ -n "$mirror" ] || skip "no Debian mirror in the configuration of apt"
rm -rf "$prefix"
mkdir -p "$prefix/apt/lists/partial" "$prefix/apt/cache/archives/partial" "$prefix/apt/debs"
apt=$(cd "$prefix/apt" && pwd)
echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
private() {
    timeout 120 apt-get -qq -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root "$@"
}
private update || skip "no $suite"
(cd "$apt/debs" && private download valkey-server valkey-tools >/dev/null) || skip "not in $suite"
for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$prefix"; done
rm -rf "$apt"
ldd "$prefix/usr/bin/valkey-server" | grep -q 'not found' && skip "a library is missing"
touch "$prefix/done"
