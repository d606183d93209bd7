"""What each idea does to the length of chapter 9's files: `python nbs/experiments/levers.py` writes
levers.json beside it.

For 12 of the images of coding.py, which has to run before: the bytes that a variant of the encoder
needs for three errors, and the ideal ones.
All variants send the same images, so that differences are exact. A quarter of an hour of one core; stopped
and started again, it goes on where it was.
"""
import argparse
import json
import math
from pathlib import Path

import torch

from coding import GOALS, begun, bundled, fill, images
from ddpm_edu import progressive_coding
from ddpm_edu.progressive_coding import SCHEDULES, Candidates, _encode, rmse, walsh

STEPS = 110


class Choice(Candidates):
    "Candidates that are chosen by another rule."
    rule = "largest"
    def best(self, d, step, k=1):
        order, signs = self.shuffle(step)
        wide = torch.nn.functional.pad(d.float(), (0, self.n - self.D))
        product = walsh(walsh((wide*signs)[order])*self.signs).flatten()/math.sqrt(self.n)
        if self.rule == "norm":              # as far as a draw of q would be on average
            score = -(product - (d**2).sum()).abs()
        else:                                # a draw of q, nearly: weights exp(d.z), Gumbel's race
            g = torch.Generator().manual_seed(step)
            score = product - (-torch.rand(product.shape, generator=g).log()).log()
        return score.topk(k).indices


def lengths(codec, image, chains, effort, cuts):
    "Bytes until each of the errors, None if never."
    before, progressive_coding.CUTS = progressive_coding.CUTS, cuts
    found = []
    try:
        for goal in GOALS:
            _, sent, path = _encode(codec, image, STEPS, goal, effort, chains)[0]
            found.append(2*len(sent) if path[-1] <= goal else None)
    finally: progressive_coding.CUTS = before
    return found


def completed(codec, image, chains):
    "The errors of the guess at the end of a file, and of the picture at the end of the chain."
    kind, sent, path = _encode(codec, image, 43, 10., 1, [c[:44] for c in chains])[0]
    chain, x = chains[kind], codec.begin(1)
    for k, (t, s) in enumerate(zip(chain, chain[1:])):
        t, s = torch.tensor([t]), torch.tensor([s])
        z = codec.candidates(torch.tensor(sent[k:k+1]), k + 1) if k < len(sent) else 0*x
        x = codec.jump(x, codec.guess(x, t), t, s, z)
    end = codec.guess(x, torch.tensor([chain[-1]]))
    return [round(path[-1], 3), round(rmse(end, image).item(), 3)], sent


def variants(codec):
    "Name, chains, effort, rule, cuts."
    every = [codec.chain(k) for k in range(SCHEDULES)]
    cuts = dict(progressive_coding.CUTS)
    return [("1 schedule", every[7:8], 1, None, {}), ("4 schedules", every[1::4], 1, None, {}),
            ("16 schedules", every, 1, None, {}), ("16, cut", every, 1, None, cuts),
            ("effort 2, cut", every, 2, None, cuts), ("effort 3, cut", every, 3, None, cuts),
            ("effort 4, cut", every, 4, None, cuts), ("a draw of q", every, 1, "draw", {}),
            ("nearest to the norm", every, 1, "norm", {})]


def main():
    options, state = begun(argparse.ArgumentParser(), "levers.json", 12)
    codec, (_, x) = bundled(), images(options.images)
    ideals = json.loads(Path(__file__).with_name("coding.json").read_text())["images"]
    usual = codec.candidates

    def work(i, row):
        before = len(row)
        row["ideal"] = ideals[str(i)]["ideal"]
        for name, chains, effort, rule, cuts in variants(codec):
            if name in row: continue
            codec.candidates = usual
            if rule:
                codec.candidates = Choice(codec.D)
                codec.candidates.rule = rule
            row[name] = lengths(codec, x[i:i+1], chains, effort, cuts)
        codec.candidates = usual
        if "completed" not in row:
            row["completed"], row["indices"] = completed(codec, x[i:i+1], variants(codec)[2][1])
        return len(row) > before
    fill(options, state, codec, work)


if __name__ == "__main__": main()
