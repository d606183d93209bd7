"The command that evaluates: a line for the model, a line for real images."
import json

import pytest

from ddpm_edu.cli import main


def test_the_table_and_json(tmp_path, capsys):
    "The same numbers twice; the second time the samples are there."
    options = ["evaluate", "--n", "8", "--steps", "1", "--out", str(tmp_path/"samples")]
    assert main([*options, "--bits", "2"]) == 0
    head, model, real = capsys.readouterr().out.splitlines()
    assert head.split() == ["n", "distance", "precision", "recall", "bits", "per", "pixel"]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path/"samples").iterdir()}
    assert main([*options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path/"samples").iterdir()}
    assert len(before) == 9 and said["model"]["bits"] is None
    for name, line in (("model", model), ("real", real)):
        row, words = said[name], line.split()
        expected = [name, "8", f"{row['distance']:.2f}", "+-", f"{row['error']:.2f}",
                    f"{row['precision']:.2f}", f"{row['recall']:.2f}"]
        assert words[:7] == expected
    assert said["real"]["distance"] < said["model"]["distance"]
    assert 1 < float(model.split()[7]) < 8 and len(real.split()) == 7


@pytest.mark.parametrize("options,words", [
    (["--n", "1"], "--n must be between 2 and 10000"), (["--bits", "1"], "--bits must be 0 or at"),
    (["--seed", "-1"], "--seed must be between 0"),
    (["--steps", "1001"], "--steps must be between 1 and 1000"),
    (["--model", "fashion-mnits"], "Did you mean 'fashion-mnist'")])
def test_refused(options, words, capsys):
    assert main(["evaluate", *options]) == 1
    assert words in capsys.readouterr().err


def test_only_what_the_classifier_knows(tmp_path, capsys):
    from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
    from ddpm_edu.unet import unet_config
    DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler()).save_pretrained(tmp_path/"m")
    assert main(["evaluate", "--model", str(tmp_path/"m")]) == 1
    assert "gray ones of 28x28" in capsys.readouterr().err
