#!/usr/bin/env python3
"""Scores what was heard against what was said: PESQ (ITU-T P.862.2, wideband) and ViSQOL (speech mode).

    score.py < pairs.json > scores.json     pairs: [{"id": "...", "said": "a.wav", "heard": "b.wav", "visqol": true}, ...]
    score.py --check speech.wav             checks the scorers themselves; exit code 1 if they cannot be trusted
    score.py --check-pesq speech.wav        the same without ViSQOL, which takes a minute

Each file is a stretch of 8 to 30 s, both ends of a pair cut at the same instant of the speech. What delay is left, PESQ finds for each
utterance and ViSQOL for each patch. ViSQOL judges stretches of at most 6 s, as its authors advise, with the polynomial mapping, under which
an identical file scores 5.0 (the lattice mapping gives synthesised speech 4.0 at best; decision 0151). Needs the packages of
requirements.txt; `make quality` installs them under target/.
"""

import json
import logging
import sys
from concurrent.futures import ProcessPoolExecutor
from math import gcd
from os import cpu_count

import numpy as np
import soundfile
from pesq import NoUtterancesError, pesq
from scipy.signal import resample_poly

RATE = 16_000
# Both metrics expect some silence around what they judge.
PADDING = np.zeros(RATE // 2)
LONGEST_FOR_VISQOL = 6 * RATE
_visqol = None


def visqol():
    """One model a process."""
    global _visqol
    if _visqol is None:
        # Loading it takes seconds: only where it is wanted.
        from visqol import VisqolApi

        logging.disable(logging.WARNING)
        _visqol = VisqolApi()
        _visqol.create(mode="speech", use_lattice_model=False)
    return _visqol


def load(path):
    samples, rate = soundfile.read(path, dtype="float64")
    if samples.ndim > 1:
        samples = samples.mean(axis=1)
    factor = gcd(RATE, rate)
    return resample_poly(samples, RATE // factor, rate // factor)


def score_samples(said, heard, both=True):
    length = min(len(said), len(heard))
    said, heard = said[:length], heard[:length]
    if not np.any(np.abs(heard) > 1e-4):
        return {"pesq": 1.0, "visqol": 1.0 if both else None}
    try:
        wideband = float(pesq(RATE, padded(said), padded(heard), "wb"))
    except NoUtterancesError:
        # Nothing that resembles speech was heard: the lowest value of the scale.
        wideband = 1.0
    if not both:
        return {"pesq": wideband, "visqol": None}
    parts = max(1, round(length / LONGEST_FOR_VISQOL))
    halves = zip(np.array_split(said, parts), np.array_split(heard, parts))
    values = [visqol().measure_from_arrays(padded(a), padded(b), RATE).moslqo for a, b in halves]
    return {"pesq": wideband, "visqol": float(np.mean(values))}


def padded(samples):
    return np.concatenate([PADDING, samples, PADDING])


def score(pair):
    return pair["id"], score_samples(load(pair["said"]), load(pair["heard"]), pair["visqol"])


def check(path, both):
    """Known damage must score as known: nothing here can pass by accident, each step must be clearly under the one before."""
    said = np.concatenate([load(path)[: 12 * RATE], PADDING])
    noise = np.random.default_rng(1).standard_normal(len(said))
    power = np.sqrt(np.mean(said**2))

    def with_gaps(share):
        heard = said.copy()
        frames = np.random.default_rng(2).random(len(said) // 320) < share
        for frame in np.flatnonzero(frames):
            heard[frame * 320 : (frame + 1) * 320] = 0.0
        return heard

    steps = [
        ("identical", said),
        ("delayed by 40 ms", np.concatenate([np.zeros(RATE // 25), said])[: len(said)]),
        ("3 % of frames silenced", with_gaps(0.03)),
        ("15 % of frames silenced", with_gaps(0.15)),
        ("noise as loud as the speech", said + power * noise),
        ("nothing but noise", power * noise),
    ]
    results = {name: score_samples(said, heard, both) for name, heard in steps}
    for name, scores in results.items():
        print(f"{name:30} PESQ {scores['pesq']:.2f}" + (f"  ViSQOL {scores['visqol']:.2f}" if both else ""))
    for metric, highest, some, much in (("pesq", 4.64, 0.5, 1.0), ("visqol", 5.0, 0.01, 0.1))[: 2 if both else 1]:
        values = [results[name][metric] for name, _ in steps]
        clean, delayed, few, many, noisy, only_noise = values
        wrong = []
        if abs(clean - highest) > 0.05:
            wrong.append(f"an identical file scores {clean:.2f}")
        if clean - delayed > 0.15:
            wrong.append(f"delay alone costs {clean - delayed:.2f}: the signals are not aligned")
        if clean - few < some or few - many < much:
            wrong.append(f"gaps are not heard: {clean:.2f}, {few:.2f}, {many:.2f}")
        if noisy > clean - 1.5 or only_noise > clean - 1.5:
            wrong.append(f"noise is not heard: {noisy:.2f}, {only_noise:.2f}")
        if wrong:
            print(f"{metric} cannot be trusted: " + "; ".join(wrong), file=sys.stderr)
            return 1
    return 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] in ("--check", "--check-pesq"):
        return check(sys.argv[2], both=sys.argv[1] == "--check")
    if len(sys.argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    pairs = json.load(sys.stdin)
    with ProcessPoolExecutor(max_workers=cpu_count()) as pool:
        json.dump(dict(pool.map(score, pairs)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
