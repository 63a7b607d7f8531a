#!/bin/sh
# evaluate.sh ARK MODEL WAV_DIR
# Transcribes every file of WAV_DIR/expected.tsv in its language with `ark transcribe` and prints error rates.
# ERRORS=N lists the first N wrong ones.
set -e
here=$(dirname "$0")
out=$(mktemp)
while IFS="$(printf '\t')" read -r file lang _; do
  text=$("$1" transcribe --json --model "$2" --language "$lang" "$3/$file" 2>/dev/null |
    python3 -c 'import json,sys; print(" ".join(s["text"] for s in json.load(sys.stdin)["segments"]))')
  printf '%s\t%s\n' "$3/$file" "$text" >> "$out"
done < "$3/expected.tsv"
python3 "$here/evaluate.py" "$3/expected.tsv" "$out" --errors "${ERRORS:-0}"
rm -f "$out"
