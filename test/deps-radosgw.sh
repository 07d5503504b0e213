#!/bin/sh
# Installs Ceph's S3 server, which the object store is tested against, where Debian has it.
packages="radosgw ceph-mon ceph-osd"
dpkg-query -W -f '${Status}\n' $packages 2>/dev/null | grep -c 'ok installed' | grep -q 3 && exit 0
apt-get update -qq || exit 1
if apt-cache show $packages >/dev/null 2>&1; then exec sh "$(dirname "$0")/deps.sh" $packages; fi
echo "Debian has no radosgw for $(dpkg --print-architecture): the S3 driver will NOT be tested" >&2
