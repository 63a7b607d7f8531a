#!/bin/sh
# Builds the agents' desk (gateway/workbench/dist), which cargo then makes a part of the gateway. Nothing to do when it is newer than its
# sources. Without npm the gateway is built without the desk, and says so itself: exit 0 in any case, unless `--must` is given.
set -u
cd "$(dirname "$0")/../gateway/workbench" || exit 1
say() { printf 'workbench: %s\n' "$*"; }
give_up() {
  say "$*"
  [ "${1:-}" ] && [ "$must" = 1 ] && exit 1
  exit 0
}
must=0
[ "${1:-}" = --must ] && must=1

if [ -f dist/index.html ] && [ -z "$(find src public scripts/pack.mjs index.html package.json package-lock.json vite.config.ts svelte.config.js -newer dist/index.html -print 2>/dev/null | head -n 1)" ]; then
  exit 0
fi
command -v npm >/dev/null 2>&1 || give_up "no npm: Ark is built without the desk; install nodejs and npm and run make again"
major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
[ "$major" -ge 18 ] 2>/dev/null || give_up "Node.js 18 or later is needed, this is $(node --version 2>/dev/null || echo none): Ark is built without the desk"

if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "fetching its packages"
  npm ci --no-audit --no-fund --silent || give_up "npm could not fetch the packages: Ark is built without the desk"
fi
say "building the desk"
npm run --silent build >.build.log 2>&1 || { cat .build.log; give_up "the desk could not be built"; }
tail -n 1 .build.log
rm -f .build.log
