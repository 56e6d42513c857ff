#!/bin/sh
# Becomes systemd, in namespaces that unshare(1) made, on a copy of this machine's files that is gone afterwards.
# usage: booted.sh DIRECTORY STAGED SYSTEMD: where to mount it, what was installed, where systemd is unpacked
set -e
directory=$1 staged=$2 systemd=$3
mount -t tmpfs scache-test "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
mount -t overlay scache-test -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$directory/root"
cd "$directory/root"

# Nothing of the machine's kernel can be changed from here.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
if [ ! -x usr/lib/systemd/systemd ]; then
	for part in lib bin sbin; do
		cp -a "$systemd/$part/." "usr/$part/"
	done
	cp -a "$systemd/usr/." usr/
fi

# Only what is tried starts.
find etc/systemd/system usr/lib/systemd/system -name '*.wants' -prune -exec rm -rf {} +
cp "$staged/etc/scache.toml" etc/
cp "$staged/usr/sbin/scached" usr/sbin/
for part in systemd sysusers.d tmpfiles.d; do
	cp -a "$staged/usr/lib/$part" usr/lib/
done
mkdir -p etc/systemd/system/scached.service.d
# Devices cannot be made in every sandbox that tests are run in. All else of the unit holds.
printf '[Service]\nPrivateDevices=no\nExecStart=\nExecStart=/usr/sbin/scached --config /etc/scache.toml --ttl-limit 10m\n' \
	>etc/systemd/system/scached.service.d/test.conf
printf '[Unit]\nRequires=scached.socket\n' >etc/systemd/system/scache-test.target

mkdir old
mount --make-rprivate /
pivot_root . old
exec chroot . /bin/sh -c '
	systemd-sysusers scache.conf >/dev/null 2>&1
	umount -l /old
	exec env -i container=scache-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		/usr/lib/systemd/systemd --system --unit=scache-test.target --log-target=null --show-status=no' \
	</dev/null >/dev/null 2>&1
