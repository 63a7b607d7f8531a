#!/bin/sh
# Installs what is missing for `build`, `run`, `lint` or `test`, and nothing else: a second run changes nothing and takes no time.
# Exit 1 only when the gateway cannot be built without the missing thing.
set -u
want=${1:-run}

say() { printf 'setup: %s\n' "$*"; }

# The rustup installer adds this folder to the login shell only.
if ! command -v cargo >/dev/null 2>&1; then
  if [ -x "$HOME/.cargo/bin/cargo" ]; then
    say "cargo is in $HOME/.cargo/bin and not in PATH; run: . \"\$HOME/.cargo/env\""
  else
    say "Rust is missing; install it from https://rustup.rs and run make again"
  fi
  exit 1
fi

# command:package pairs. The first group is needed to build, the second makes more of Ark work.
needed="cc:build-essential cmake:cmake clang:clang"
useful=""
case $want in
  run) useful="espeak-ng:espeak-ng node:nodejs npm:npm" ;;
  test) useful="python3:python3 espeak-ng:espeak-ng sipp:sip-tester baresip:baresip-core git:git rabbitmqctl:rabbitmq-server pg_ctlcluster:postgresql openssl:openssl go:golang-go node:nodejs npm:npm" ;;
esac

packages=""
for pair in $needed $useful; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || packages="$packages ${pair#*:}"
done
# What whisper.cpp's bindings are made with; the compiler may be there without its library.
has_libclang() {
  for file in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so*; do
    [ -e "$file" ] && return 0
  done
  return 1
}
has_libclang || packages="$packages libclang-dev"

# The AMQP sample of an adapter is tried with it.
if [ "$want" = test ] && ! python3 -c "import pika" >/dev/null 2>&1 && ! /usr/bin/python3 -c "import pika" >/dev/null 2>&1; then
  packages="$packages python3-pika"
fi

# The vendors' SDKs in Python go into a virtual environment.
if [ "$want" = test ] && ! python3 -c "import ensurepip, venv" >/dev/null 2>&1; then
  packages="$packages python3-venv"
fi

if [ -n "$packages" ]; then
  say "missing:$packages"
  root=""
  [ "$(id -u)" = 0 ] || root="sudo"
  if ! command -v apt-get >/dev/null 2>&1; then
    say "this machine has no apt-get; install the equivalents of:$packages"
  elif [ -n "$root" ] && ! command -v sudo >/dev/null 2>&1; then
    say "not root and no sudo; ask an administrator for: apt-get install$packages"
  else
    say "installing$packages with apt-get"
    [ -z "$root" ] || say "sudo may ask for your password"
    # Package lists of a bare machine are empty or old; a failing update is not yet a failing install.
    $root env DEBIAN_FRONTEND=noninteractive apt-get update || say "apt-get update failed; trying with the lists at hand"
    # shellcheck disable=SC2086 # the list is meant to be split
    # A broker or database that is installed for the tests is not started on the machine: they start their own.
    policy=/usr/sbin/policy-rc.d
    case $want in
      test)
        if [ ! -e $policy ]; then
          trap '$root rm -f $policy' EXIT
          trap 'exit 1' HUP INT TERM
          printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null && $root chmod 755 $policy
        fi
        ;;
    esac
    if ! $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; then
      # One package that a mirror lacks must not keep the others away.
      for package in $packages; do
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package" ||
          say "could not install $package"
      done
    fi
  fi
fi

if [ "$want" = test ] && ! python3 -c "import pika" >/dev/null 2>&1 && ! /usr/bin/python3 -c "import pika" >/dev/null 2>&1; then
  say "without python3-pika, the adapter in Python over RabbitMQ is not tried"
fi
for pair in $useful; do
  command -v "${pair%%:*}" >/dev/null 2>&1 && continue
  case ${pair%%:*} in
    espeak-ng) say "without espeak-ng, a plan whose prompts are not all recorded does not go live, and the demo hotline has none recorded" ;;
    rabbitmqctl) say "without rabbitmq-server, the tests of the bus with a broker are skipped" ;;
    pg_ctlcluster) say "without postgresql, the tests of the store with a database are skipped" ;;
    go) say "without golang-go, the adapter in Go is not put through the conformance kit" ;;
    node) say "without nodejs, Ark is built without the agents' desk" ;;
    npm) say "without npm, Ark is built without the agents' desk, and for the tests no Node.js 22 can be fetched" ;;
    sipp | baresip) say "without ${pair%%:*}, the tests that call with it are skipped" ;;
    *) say "without ${pair%%:*}, some tests are skipped" ;;
  esac
done

# The TypeScript sample needs a Node.js that strips types (22.18); distributions have older ones. It is fetched for the tests alone.
strips() { [ -n "$("$1" -p 'process.features.typescript || ""' 2>/dev/null)" ]; }
if [ "$want" = test ] && ! strips node && ! strips target/node/node_modules/node/bin/node && command -v npm >/dev/null 2>&1; then
  say "fetching Node.js 22 for the tests into target/node"
  npm install --prefix target/node --no-audit --no-fund --silent node@22 || say "no Node.js 22; the TypeScript sample is not tried"
fi

# The vendors' own SDKs, beside which the channels of China are tried (tests/tests/live_vendor_sdks.rs): in these versions, for the tests
# alone. wechatpy 1.8.18 and dingtalk-stream 0.24.3 run with Python 3.9 to 3.11.
vendor_python="dingtalk-stream==0.24.3 wechatpy==1.8.18 cryptography==50.0.2"
vendor_node="alipay-sdk@4.14.0 @wecom/crypto@1.0.1 dingtalk-stream@2.1.5"
if [ "$want" = test ] && [ "$(cat target/vendor/installed 2>/dev/null)" != "$vendor_python $vendor_node" ]; then
  say "fetching the vendors' SDKs for the tests into target/vendor"
  mkdir -p target/vendor
  done=yes
  # shellcheck disable=SC2086 # the lists are meant to be split
  { python3 -m venv target/vendor/venv && target/vendor/venv/bin/pip install --quiet --disable-pip-version-check $vendor_python; } || {
    say "no SDKs in Python; what is tried with them is skipped"
    done=no
  }
  # shellcheck disable=SC2086
  command -v npm >/dev/null 2>&1 && npm install --prefix target/vendor --no-audit --no-fund --silent $vendor_node || {
    say "no SDKs in JavaScript; what is tried with them is skipped"
    done=no
  }
  [ $done = no ] || printf '%s' "$vendor_python $vendor_node" >target/vendor/installed
fi

if [ "$want" = lint ] || [ "$want" = test ]; then
  for component in rustfmt clippy; do
    tool=$component
    [ $component = rustfmt ] && tool=fmt
    if ! cargo $tool --version >/dev/null 2>&1; then
      say "adding the Rust component $component"
      rustup component add $component || say "could not add $component; its check is skipped"
    fi
  done
fi

if ! command -v cmake >/dev/null 2>&1; then
  say "no cmake: whisper.cpp cannot be built; install cmake, clang and libclang-dev, or build without: cargo build -p ark --no-default-features --features g729"
  exit 1
fi
if ! command -v cc >/dev/null 2>&1; then
  say "no C compiler: SQLite cannot be built; install build-essential and run make again"
  exit 1
fi
