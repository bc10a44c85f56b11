#!/bin/bash
# Process 1 of a host: mounts of its own, then sshd. Started by hosts.py in fresh namespaces.
#   NAME  host name      DISK    folder that is this host's disk        SHARED    folder that all hosts share
#   BASE  interpreter    PACKAGES  what it has installed
set -euo pipefail
mount --make-rprivate /
hostname "$NAME"
mount -t overlay overlay -o "lowerdir=$DISK/etc:/etc" /etc
root=$DISK/mnt   # becomes /mnt
mkdir "$root" && mount -t tmpfs tmpfs "$root"
mkdir -p "$root"/procon "$root"/home "$root"/python "$root"/site-packages
mount --bind "$SHARED" "$root"/procon
mount --bind "$DISK/home" "$root"/home
mount --bind "$BASE" "$root"/python && mount -o remount,bind,ro "$root"/python
mount --bind "$PACKAGES" "$root"/site-packages && mount -o remount,bind,ro "$root"/site-packages
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run && mkdir -p /run/sshd
mount --rbind "$root" /mnt
mount --bind "$DISK/tmp" /tmp
mount -o remount,bind,ro /
cd /
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
