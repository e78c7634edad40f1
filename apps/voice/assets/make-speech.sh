#!/bin/sh
# Makes speech.wav: about 12 s of synthesised speech with pauses, two voices, 48 kHz mono 16-bit.
# Needs espeak-ng and sox. Run it in this directory.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { # file, voice, pitch, words a minute, text
    espeak-ng -v "$2" -p "$3" -s "$4" -w "$work/$1.wav" "$5"
}

say 1 en-us 38 178 "Hello. Can you hear me well?"
say 2 en-gb-scotland 72 185 "Yes, clear as a bell. Nobody between us can listen to this call."
say 3 en-us 38 178 "Good. A private talk should be as easy as picking up the phone."
say 4 en-gb-scotland 72 185 "Then let us talk."

# One format and level for all, silence cut at both ends, pauses in between.
for i in 1 2 3 4; do
    sox -R -D "$work/$i.wav" -r 48000 -c 1 -b 16 "$work/$i-clean.wav" \
        silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse highpass 80 norm -6
done
sox -R -D -n -r 48000 -c 1 -b 16 "$work/short.wav" trim 0 0.5
sox -R -D -n -r 48000 -c 1 -b 16 "$work/long.wav" trim 0 0.9
sox -R -D -n -r 48000 -c 1 -b 16 "$work/rest.wav" trim 0 4
sox -R -D "$work/short.wav" "$work/1-clean.wav" "$work/short.wav" "$work/2-clean.wav" \
    "$work/long.wav" "$work/3-clean.wav" "$work/short.wav" "$work/4-clean.wav" \
    "$work/rest.wav" "$work/joined.wav"
# Exactly 12 s: whatever is left is silence.
sox -R -D "$work/joined.wav" -b 16 speech.wav trim 0 12
