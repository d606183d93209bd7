"Where the time of a run goes: parts that are the whole, and a look that changes nothing."
import re

import pytest
import torch

from ddpm_edu import DDPMPipeline, cli
from ddpm_edu.profiling import Stopwatch, age, as_table, profile_sampling, watched
from test_cli import run
from test_speed_guards import Calls

PARTS = {"rest", "network", "scheduler", "noise", "bar"}


@pytest.fixture
def pipe():
    pipe = DDPMPipeline.from_config("tiny")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ticking(step=1):
    "A clock that goes on at each look."
    state = [0]
    def clock():
        state[0] += step
        return state[0]
    return clock


def test_the_parts_are_the_whole_to_the_nanosecond():
    watch = Stopwatch("a", age=1000, clock=ticking(7))
    double = watch.timed("b", lambda x: [2*y for y in watch.each("c", x)])
    assert double([1, 2, 3]) == [2, 4, 6] and double([]) == []
    with pytest.raises(ZeroDivisionError): watch.timed("d", lambda: 1/0)()
    watch.turn("e")
    spent = watch.look()
    assert sum(spent.values()) == watch.looked - watch.began
    assert list(spent) == ["a", "b", "c", "d", "e"] and spent["a"] > 1000
    assert watch.running == ["e"]                            # also after the error


def test_each_part_is_entered_as_often_as_it_happens(pipe):
    "Counted, not timed: in n steps n noises but one, n steps, and n + 2 looks at the bar."
    entered = []
    class Counting(Stopwatch):
        def part(self, name):
            entered.append(name)
            return super().part(name)
    watched(pipe, Counting("rest"))(num_inference_steps=6, output_type="pt")
    counts = {name: entered.count(name) for name in sorted(set(entered))}
    assert counts == {"bar": 1 + 6 + 1, "network": 1, "noise": 5, "scheduler": 6}


def test_a_profile_has_all_parts_and_their_sum_in_its_title(pipe):
    spent = profile_sampling(pipe, batch_size=2, num_inference_steps=3)
    assert set(spent) == PARTS and all(type(ns) is int and ns > 0 for ns in spent.values())
    first, *lines = as_table(spent).splitlines()
    assert [line.split()[0] for line in lines] == list(spent)
    seconds = [float(re.search(r"([\d.]+) s", line)[1]) for line in (first, *lines)]
    assert seconds[0] == pytest.approx(sum(seconds[1:]), abs=0.0005*(len(lines) + 1))
    shares = [float(re.search(r"([\d.]+)%", line)[1]) for line in lines]
    assert sum(shares) == pytest.approx(100, abs=0.005*len(lines) + 1e-9)


def test_a_look_changes_neither_the_images_nor_the_pipeline(pipe):
    seeded = lambda: torch.Generator().manual_seed(3)
    call = dict(batch_size=2, num_inference_steps=9, output_type="pt")
    before, parts = dict(vars(pipe)), dict(vars(pipe.scheduler))
    plain = pipe(generator=seeded(), **call).images
    looked = watched(pipe, Stopwatch("rest"))(generator=seeded(), **call).images
    assert torch.equal(plain, looked)
    assert vars(pipe) == before and vars(pipe.scheduler) == parts
    def calls(p):
        with Calls() as c: p(generator=seeded(), **call)
        return c.names
    assert calls(watched(pipe, Stopwatch("rest"))) == calls(pipe)         # not an operation more


def test_other_samplers_keep_their_noise_for_themselves(pipe):
    diffusers = pytest.importorskip("diffusers")
    pipe.scheduler = diffusers.DDIMScheduler()
    assert set(profile_sampling(pipe, num_inference_steps=3)) == PARTS - {"noise"}


def test_the_program_says_where_its_time_went(tmp_path):
    done = run("sample", "--n", 1, "--steps", 3, "--profile", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wrote, whole, *lines = done.stdout.splitlines()
    assert wrote.startswith("wrote 1 image to ")
    parts = [line.split()[0] for line in lines]
    assert set(parts) == PARTS - {"rest"} | {"start-up", "loading", "writing"}
    seconds = [float(re.search(r"([\d.]+) s", line)[1]) for line in (whole, *lines)]
    assert seconds[0] == pytest.approx(sum(seconds[1:]), abs=0.0005*(len(lines) + 1))
    quiet = run("sample", "--n", 1, "--steps", 3, cwd=tmp_path)
    assert quiet.stdout == wrote + "\n"                      # and only if it is asked


def test_the_age_is_that_of_the_program_alone(monkeypatch, capsys, tmp_path):
    assert age() == 0                                        # pytest is another program
    monkeypatch.setattr("sys.argv", ["/usr/bin/ddpm-edu", "sample"])
    assert 0 <= age() < 10**9*3600*24
    monkeypatch.setattr("pathlib.Path.read_text", lambda *a, **k: "nonsense")
    assert age() == 0                                        # nobody knows
    assert cli.main(["sample", "--help"]) == 0 and "--profile" in capsys.readouterr().out
