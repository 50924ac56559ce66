# SPDX-License-Identifier: Apache-2.0
# Process 1 of a PID namespace that holds one host: when it dies, everything in the host dies.
# Arguments: host name, address, image, folder of the run, cgroup, then more arguments for systemd-nspawn.
set -eu
name=$1 address=$2 image=$3 dir=$4 cgroup=$5
shift 5

# With --keep-unit systemd-nspawn makes its cgroups below the caller's: two hosts in one cgroup would share them.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then hierarchies=.; else hierarchies='systemd unified memory pids freezer'; fi
for hierarchy in $hierarchies; do
    [ -d "/sys/fs/cgroup/$hierarchy" ] || continue
    mkdir -p "/sys/fs/cgroup/$hierarchy/$cgroup"
    echo 0 >"/sys/fs/cgroup/$hierarchy/$cgroup/cgroup.procs"
done

mount --make-rprivate /
mount -t tmpfs tmpfs /run
# A host with a disk finds on it what it wrote before its power was cut.
if [ -e "$dir/disk.img" ]; then
    mount -o loop "$dir/disk.img" "$dir/disk"
else
    mount -t tmpfs -o size=2G,mode=755 "hostwrit-$name" "$dir/disk"
fi
mkdir -p "$dir/disk/upper" "$dir/disk/work" "$dir/disk/root"
mount -t overlay -o "lowerdir=$image,upperdir=$dir/disk/upper,workdir=$dir/disk/work" overlay "$dir/disk/root"

etc=$dir/disk/root/etc
echo "$name" >"$etc/hostname"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$etc/hosts"
printf '[Match]\nName=host0\n\n[Network]\nAddress=%s/24\nLinkLocalAddressing=no\nDHCP=no\n' "$address" \
    >"$etc/systemd/network/10-host0.network"

while :; do
    rc=0
    systemd-nspawn --quiet --directory="$dir/disk/root" --boot --register=no --keep-unit --notify-ready=yes --console=pipe \
        --machine="$name" --network-bridge=br0 "$@" </dev/null || rc=$?
    # 133 is a reboot; without systemd's bus it is the caller who starts the host again.
    [ "$rc" = 133 ] || exit "$rc"
done
