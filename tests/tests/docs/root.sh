# Makes a root of its own and runs a page's script in it. In namespaces of its own: mounts,
# network (loopback alone), processes, users.
#
#   root.sh WORK SEALWIRE SYSTEM SCRIPT
#
# WORK is an empty directory for the root and what the script leaves in out/. SYSTEM is
# `minimal`, a shell and a few programs of coreutils, or `usr`, all of this machine's /usr.
set -eu
work="$1" sealwire="$2" system="$3" script="$4"
root="$work/root"
mkdir -p "$root"
mount -t tmpfs -o mode=755 root "$root"
cd "$root"
mkdir -p dev etc/sealwire proc tmp home/me usr/local/bin var/lib run doc
chmod 1777 tmp

if [ "$system" = minimal ]; then
    mkdir -p usr/bin
    ln -s usr/bin bin
    # Each program with the libraries that it is linked with.
    for program in basename bash sh cat chmod cp date dirname env grep head ls mkdir mv rm sed sleep tail tr uname; do
        path="$(command -v "$program")"
        {
            echo "$path"
            ldd "$path" | grep -o '/[^ ]*'
        } | while read -r file; do
            [ -e ".$file" ] || { mkdir -p ".$(dirname "$file")" && cp -L "$file" ".$file"; }
        done
    done
    # And what the program itself is linked with.
    ldd "$sealwire" | grep -o '/[^ ]*' | while read -r file; do
        [ -e ".$file" ] || { mkdir -p ".$(dirname "$file")" && cp -L "$file" ".$file"; }
    done
else
    for directory in bin lib lib64 sbin; do
        [ ! -e "/$directory" ] || cp -a "/$directory" . 2>/dev/null || true
    done
    mount --rbind /usr usr
    mount -t tmpfs local usr/local
    mkdir -p usr/local/bin
    [ ! -e /etc/alternatives ] || cp -a /etc/alternatives etc/
    [ ! -e /etc/ssl ] || cp -a /etc/ssl etc/ 2>/dev/null || true
fi
: >usr/local/bin/sealwire
mount --bind "$sealwire" usr/local/bin/sealwire
for device in null zero full random urandom tty; do
    [ -e "/dev/$device" ] || continue
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t proc proc proc
mount --bind "$work/doc" doc
echo 'me:x:0:0::/home/me:/bin/sh' >etc/passwd
echo 'me:x:0:' >etc/group
# Names that pages use lead to loopback.
printf '127.0.0.1 localhost tools.example.org ca.example.org\n' >etc/hosts
ip link set lo up
exec chroot . /usr/bin/env -i HOME=/home/me USER=me LANG=C.UTF-8 \
    PATH=/doc/stand-ins:/home/me/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin \
    bash "$script"
