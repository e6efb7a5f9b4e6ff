#!/bin/sh
# Installs the HyprBox Jobs agent on this machine: the program, its service, and the node's token.
#
#   sh install.sh URL CODE
#
# URL is the server's address, and CODE the one-time code from the node's page. Variables:
#   HYPRBOX_CA_FILE          certificate authorities to trust instead of the system's
#   HYPRBOX_INSECURE_HTTP=1  allows plain http to a server on another machine
#   HYPRBOX_INIT             systemd, openrc or none, instead of the one that is found
#   DESTDIR                  installs into another root, and starts nothing
set -eu

# The agents that the server ships: machine and SHA-256.
agents='@AGENTS@'

# The keys with which the server signs jobs. The node runs no others.
sign_keys='@SIGN_KEYS@'

root=${DESTDIR:-}

say() { printf 'hyprbox: %s\n' "$*"; }
die() {
    printf 'hyprbox: %s\n' "$*" >&2
    exit 1
}

# download URL FILE
download() {
    if command -v curl >/dev/null; then
        curl -fsS ${HYPRBOX_CA_FILE:+--cacert "$HYPRBOX_CA_FILE"} -o "$2" "$1"
    elif command -v wget >/dev/null; then
        wget -q ${HYPRBOX_CA_FILE:+--ca-certificate="$HYPRBOX_CA_FILE"} -O "$2" "$1"
    else
        die 'curl and wget are missing; install one of them'
    fi
}

# Prints the SHA-256 of the agent for machine $1; nothing if the server has none.
wanted_sha256() {
    printf '%s\n' "$agents" | while read -r name sha256; do
        [ "$name" != "$1" ] || printf '%s\n' "$sha256"
    done
}

# Downloads the agent to $1. Running jobs keep the program with which they began.
install_program() {
    machine=$(uname -m)
    sha256=$(wanted_sha256 "$machine")
    [ -n "$sha256" ] || die "the server has no agent for $machine; install the package hyprbox-agent, then run:
hyprbox-agent enroll $url $code"
    mkdir -p "${1%/*}"
    trap 'rm -f "$program.new"' EXIT
    download "$url/agent/hyprbox-agent-$machine" "$1.new"
    printf '%s  %s\n' "$sha256" "$1.new" | sha256sum -c - >/dev/null ||
        die 'the downloaded agent does not match the SHA-256 in this script; nothing was installed'
    chmod 0755 "$1.new"
    mv -f "$1.new" "$1"
    say "$1 installed"
}

find_init() {
    if [ -d /run/systemd/system ]; then
        echo systemd
    elif command -v openrc-run >/dev/null || [ -x /sbin/openrc-run ]; then
        echo openrc
    else
        echo none
    fi
}

install_systemd_unit() {
    mkdir -p "$root/etc/systemd/system"
    cat >"$root/etc/systemd/system/hyprbox-agent.service" <<'UNIT'
@UNIT@
UNIT
    [ -n "$root" ] || systemctl daemon-reload
}

install_openrc_service() {
    mkdir -p "$root/etc/init.d"
    cat >"$root/etc/init.d/hyprbox-agent" <<'SERVICE'
#!/sbin/openrc-run
description="HyprBox Jobs agent: runs this node's jobs"
supervisor=supervise-daemon
command=/usr/local/bin/hyprbox-agent
command_args=run
respawn_delay=2
respawn_max=0
# A core file could hold a secret.
rc_ulimit="-c 0"
output_log=/var/log/hyprbox-agent.log
error_log=/var/log/hyprbox-agent.log

depend() {
    need net
}

start_pre() {
    set -a
    . /etc/hyprbox/agent.env
    set +a
}
SERVICE
    chmod 0755 "$root/etc/init.d/hyprbox-agent"
}

main() {
    [ $# -eq 2 ] || die 'usage: sh install.sh URL CODE'
    url=${1%/}
    code=$2
    case $url in
        https://* | http://localhost | http://localhost:* | http://127.* | 'http://[::1]'*) ;;
        http://*)
            [ "${HYPRBOX_INSECURE_HTTP:-}" = 1 ] ||
                die "over plain http anyone on the network path can read the token and inject scripts that run here as root; use https, or accept the risk with HYPRBOX_INSECURE_HTTP=1"
            ;;
        *) die "$url is not an http:// or https:// address" ;;
    esac
    [ "$(uname -s)" = Linux ] || die 'jobs run only on Linux'
    [ "$(id -u)" = 0 ] || [ -n "$root" ] || die 'this needs root; run it with sudo sh'
    [ -x /bin/bash ] || die 'jobs need /bin/bash, which is missing; install the package bash'

    init=${HYPRBOX_INIT:-$(find_init)}
    if [ -z "$root" ] && [ -x /usr/bin/hyprbox-agent ]; then
        say 'the package hyprbox-agent is already installed and stays unchanged'
        program=/usr/bin/hyprbox-agent
    else
        program=$root/usr/local/bin/hyprbox-agent
        install_program "$program"
        case $init in
            systemd) install_systemd_unit ;;
            openrc) install_openrc_service ;;
            none) ;;
            *) die "HYPRBOX_INIT=$init must be systemd, openrc or none" ;;
        esac
    fi

    # Exchanges the code for the token, writes the settings, checks everything, and starts the unit
    # if systemd is running.
    HYPRBOX_SIGN_KEYS=$sign_keys "$program" enroll --env-file "$root/etc/hyprbox/agent.env" ${root:+--no-start} "$url" "$code"
    case $init$root in
        openrc)
            rc-update add hyprbox-agent default
            rc-service hyprbox-agent restart
            ;;
        none*)
            say 'no service manager was found; make this run at boot, as root:'
            say "    sh -c 'set -a; . $root/etc/hyprbox/agent.env; exec $program run'"
            ;;
        *) ;;
    esac
}

main "$@"
