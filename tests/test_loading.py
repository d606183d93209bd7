"Untrusted checkpoints, a full disk, a killed process, a hub that is away: what then."
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.hub import ASSETS, bundled
from ddpm_edu.unet import unet_config
from ddpm_edu.weight_files import weights_file

PREDICTABLE = (ValueError, TypeError, FileNotFoundError)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    torch.manual_seed(0)
    DDPMPipeline.from_config("tiny").save_pretrained(folder)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    import shutil
    return Path(shutil.copytree(good, tmp_path/"copy"))


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DDPMPipeline.from_pretrained(folder)


def state(folder):
    "Everything a folder holds, to compare before and after."
    pipe = load(folder)
    return dict(pipe.scheduler.config), pipe.unet.state_dict()


def equal(a, b): return a[0] == b[0] and all(torch.equal(v, b[1][k]) for k, v in a[1].items())


JUNK = [None, True, -1, 0, 1, 10**9, 10**400, 1.5, -1e308, "", "x", "DownBlock2D", [], {}, [1],
        [0, 0], [10**9, 10**9], ["DownBlock2D"]*2, [[8, 16]], {"a": 1}, [None, None], [8, "16"],
        "8", [1e3, 1e3], 2**63, [2**14]*16]
PARTS = ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json")


@pytest.mark.parametrize("file", PARTS)
def test_every_entry_of_every_file_replaced_by_junk(copy, file):
    "Either the value is fine, or the message names the entry; nothing else may escape."
    path = copy/file
    entries = json.loads(path.read_text())
    unnamed = []
    for name in entries:
        for value in JUNK:
            path.write_text(json.dumps({**entries, name: value}))
            try: load(copy)
            except PREDICTABLE as e:
                if name in str(e) or "does not fit" in str(e): continue
                unnamed.append((name, value, f"{type(e).__name__}: {e}"))
    assert not unnamed, unnamed[:5]


def test_absurd_sizes_are_refused_at_once_and_without_memory(copy):
    import resource
    path, before = copy/"unet"/"config.json", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entries = json.loads(path.read_text())
    billion = 10**9
    for change in (dict(block_out_channels=[billion, billion]), dict(block_out_channels=[2**14]*2),
                   dict(layers_per_block=billion), dict(time_embedding_dim=billion),
                   dict(num_class_embeds=billion), dict(in_channels=billion)):
        path.write_text(json.dumps(entries | change))
        words = next(iter(change)) + "|parameters|does not fit"
        with pytest.raises(ValueError, match=words): load(copy)
    path.write_text(json.dumps(entries))
    schedule = copy/"scheduler"/"scheduler_config.json"
    entries = json.loads(schedule.read_text()) | dict(num_train_timesteps=10**12)
    schedule.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="num_train_timesteps"): load(copy)
    (copy/"model_index.json").write_bytes(b" "*2**25)
    with pytest.raises(ValueError, match="bytes"): load(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000             # KB


def test_a_flipped_bit_anywhere_in_the_weights_is_refused(copy):
    """The table, the metadata, or a number: the file is refused, or (in the table's free text and
    padding) loads the same weights."""
    file, rng = copy/"unet"/weights_file(), random.Random(0)
    whole, right, loaded = file.read_bytes(), state(copy), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    table, numbers = range(8, header), range(header, len(whole))
    for place in [*range(0, 8), *rng.sample(table, 60), *rng.sample(numbers, 60)]:
        raw = bytearray(whole)
        raw[place] ^= 1 << rng.randrange(8)
        file.write_bytes(raw)
        try: got = state(copy)
        except ValueError: continue
        loaded += 1
        assert place < header and equal(got, right), place
    print(f"{loaded} of 128 flipped bits did not matter")
    assert loaded < 20


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_truncated_weights(copy, share):
    file = copy/"unet"/weights_file()
    whole = file.read_bytes()
    file.write_bytes(whole[:int(share*len(whole))])
    with pytest.raises(ValueError, match="damaged or cut short"): load(copy)


def test_pickled_programs_never_run(copy, tmp_path):
    class Evil:
        def __reduce__(self): return os.system, (f"touch {tmp_path}/ran",)
    (copy/"unet"/weights_file()).unlink()
    for value in (Evil(), {"conv_in.weight": Evil()}, [Evil()]):
        torch.save(value, copy/"unet"/"diffusion_pytorch_model.bin")
        with pytest.raises(ValueError, match="unpickling can run any program"): load(copy)
    # negative control: the trap works
    torch.load(copy/"unet"/"diffusion_pytorch_model.bin", weights_only=False)
    assert (tmp_path/"ran").exists()


@pytest.mark.parametrize("name", ["model_index.json", "unet", "scheduler", *PARTS[:2],
                                  "unet/" + weights_file()])
def test_links_out_of_the_folder(copy, tmp_path, name):
    (copy/name).rename(tmp_path/"elsewhere")
    (copy/name).symlink_to(tmp_path/"elsewhere")
    with pytest.raises(ValueError, match="leads out of"): load(copy)


def test_links_of_the_hubs_cache_and_to_the_whole_folder_are_fine(copy, tmp_path, good):
    snapshot, blobs = tmp_path/"models--a--b"/"snapshots"/"c0ffee", tmp_path/"models--a--b"/"blobs"
    blobs.mkdir(parents=True)
    for i, f in enumerate(p for p in good.rglob("*") if p.is_file()):
        (blobs/str(i)).write_bytes(f.read_bytes())
        link = snapshot/f.relative_to(good)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs/str(i), link.parent))
    (tmp_path/"mine").symlink_to(copy)
    assert equal(state(snapshot), state(good)) and equal(state(tmp_path/"mine"), state(good))
    UNet.from_pretrained(snapshot/"unet")


def test_subfolders(tmp_path, good):
    load(good).save_pretrained(tmp_path/"a"/"b")
    inner = DDPMPipeline.from_pretrained(tmp_path, subfolder="a/b").unet.config
    assert inner == unet_config("tiny") | UNet(**unet_config("tiny")).config
    with pytest.raises(ValueError, match="leads out of"):
        DDPMPipeline.from_pretrained(tmp_path/"a"/"b", subfolder="../../..")
    with pytest.raises(FileNotFoundError, match="subfolder=... .it holds unet"):
        UNet.from_pretrained(good)


def test_a_full_disk_leaves_the_old_model(copy, monkeypatch):
    "A limit on the size of files stands for the disk: the network does not fit."
    before, script = state(copy), f"""
import resource, signal, torch
from ddpm_edu import DDPMPipeline, DDPMScheduler
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
torch.manual_seed(1)
tiny, other = DDPMPipeline.from_config("tiny"), DDPMScheduler(beta_end=0.03)
pipe = DDPMPipeline.from_pipe(tiny, scheduler=other)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for kind in (True, False):
    try: pipe.save_pretrained({str(copy)!r}, safe_serialization=kind)
    except OSError as e: print(e)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    said = [f"cannot save to {copy}: " in line and "what was there before is unchanged" in line
            for line in done.stdout.splitlines()]
    assert said == [True, True], done
    assert equal(state(copy), before)
    assert sorted(p.name for p in copy.iterdir()) == ["model_index.json", "scheduler", "unet"]


def test_every_move_that_can_fail_is_undone(copy, monkeypatch):
    "The n-th rename of a save fails, for each n: the old model is there, whole, and no litter."
    before, tiny = state(copy), DDPMPipeline.from_config("tiny")
    new = DDPMPipeline.from_pipe(tiny, scheduler=DDPMScheduler(beta_end=0.03))
    files, replace, failed = sorted(p.relative_to(copy) for p in copy.rglob("*")), os.replace, 0
    for n in range(12):
        calls = iter(range(10**6))
        def sometimes(*args):
            if next(calls) == n: raise OSError("no space left on device")
            return replace(*args)
        monkeypatch.setattr(os, "replace", sometimes)
        try: new.save_pretrained(copy)
        except OSError:
            failed += 1
            monkeypatch.setattr(os, "replace", replace)
            assert equal(state(copy), before)
            assert sorted(p.relative_to(copy) for p in copy.rglob("*")) == files
        else: break
    assert failed >= 4 and not equal(state(copy), before)


@pytest.mark.parametrize("n", range(4))
def test_killed_between_two_moves(copy, n):
    "The process vanishes at the n-th move: the new model loads or the old one, never a mixture."
    before, script = state(copy), f"""
import os, torch
from ddpm_edu import DDPMPipeline, DDPMScheduler
torch.manual_seed(1)
tiny, other = DDPMPipeline.from_config("tiny"), DDPMScheduler(beta_end=0.03)
pipe = DDPMPipeline.from_pipe(tiny, scheduler=other)
pipe.save_pretrained({str(copy.parent/'new')!r})
replace, calls = os.replace, iter(range(10**6))
def dies(a, b):
    inside = {str(copy)!r} == os.path.commonpath([{str(copy)!r}, str(b)])
    if inside and ".saving" not in str(b) and next(calls) == {n}: os._exit(9)
    return replace(a, b)
os.replace = dies
pipe.save_pretrained({str(copy)!r})
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    after, new = state(copy), state(copy.parent/"new")
    assert equal(after, new) or equal(after, before)
    assert not list(copy.rglob(".ready-*"))


@pytest.mark.slow
def test_killed_anywhere(copy, tmp_path):
    "SIGKILL at random moments of a process that saves two models in turn."
    script = f"""
import torch
from ddpm_edu import DDPMPipeline, DDPMScheduler
pipes = []
for i in (0, 1):
    torch.manual_seed(i)
    tiny, other = DDPMPipeline.from_config("tiny"), DDPMScheduler(beta_end=0.02 + i/100)
    pipes.append(DDPMPipeline.from_pipe(tiny, scheduler=other))
    pipes[i].save_pretrained({str(tmp_path)!r} + f"/{{i}}")
print("ready", flush=True)
while True:
    for i, p in enumerate(pipes):
        p.save_pretrained({str(copy)!r}, max_shard_size=["10GB", "40KB"][i])
"""
    rng, seen = random.Random(0), set()
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as p:
            p.stdout.readline()
            time.sleep(rng.uniform(0.05, 0.3))
            p.send_signal(signal.SIGKILL)
        got = state(copy)
        seen.add(next(i for i in (0, 1) if equal(got, state(tmp_path/str(i)))))
    print(f"models found: {seen}")


def test_loading_while_another_process_saves(copy):
    "A reader sees the old model or the new one, and disturbs nobody."
    a, b = (DDPMPipeline.from_pipe(load(copy), scheduler=DDPMScheduler(beta_end=e))
            for e in (0.02, 0.03))
    stop, errors = threading.Event(), []
    def save():
        try:
            while not stop.is_set():
                for p in (a, b): p.save_pretrained(copy)
        except BaseException as e: errors.append(e)
    writer = threading.Thread(target=save)
    writer.start()
    try:
        for _ in range(20): assert load(copy).scheduler.config.beta_end in (0.02, 0.03)
    finally:
        stop.set()
        writer.join()
    assert not errors


def test_bundled_weights_have_a_checksum():
    from safetensors import safe_open
    for name in bundled():
        with safe_open(ASSETS/name/"unet"/weights_file(), "pt") as f:
            assert len(f.metadata()["sha256"]) == 64


class Hub(BaseHTTPRequestHandler):
    "As much of the hub's HTTP interface as a download and an upload need."
    repos, gated, sha = {}, set(), "c0ffee"*6 + "beef"

    def log_message(self, *args): pass

    def answer(self, code, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        headers = {"Content-Length": str(len(body)), "X-Repo-Commit": self.sha, **headers}
        for k, v in headers.items(): self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)

    def refuse(self, code, name, message):
        error = {"error": message}
        return self.answer(code, error, X_Error_Code=name, X_Error_Message=message)

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]: repo, file = "/".join(parts[2:4]), None
        else: repo, file = "/".join(parts[:2]), "/".join(parts[4:])
        if repo in self.gated: return self.refuse(403, "GatedRepo", "Access to it is restricted")
        if repo not in self.repos: return self.refuse(404, "RepoNotFound", "Repository not found")
        files = self.repos[repo]
        if file is None:
            if "tree" in parts:
                tree = [{"type": "file", "path": f, "size": len(b), "oid": "0"*40}
                        for f, b in files.items()]
                return self.answer(200, tree)
            if len(parts) > 5 and parts[5] not in ("main", self.sha):
                return self.refuse(404, "RevisionNotFound", "no such revision")
            about = {"_id": "1", "id": repo, "modelId": repo, "sha": self.sha, "private": False,
                     "downloads": 0, "likes": 0, "tags": [],
                     "siblings": [{"rfilename": f} for f in files]}
            return self.answer(200, about)
        if file not in files: return self.refuse(404, "EntryNotFound", "no such file")
        self.answer(200, files[file], ETag=f'"{hash(files[file]) & (2**64 - 1):x}"')

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/repos/create"):
            data = json.loads(body)
            name = f"{data.get('organization') or 'me'}/{data['name']}"
            self.repos.setdefault(name, {})
            url = f"http://{self.headers['Host']}/{name}"
            return self.answer(200, {"url": url, "name": name, "id": name})
        repo = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            answers = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                       for f in json.loads(body)["files"]]
            return self.answer(200, {"files": answers})
        if "/commit/" in self.path:
            import base64
            for line in map(json.loads, body.splitlines()):
                if line["key"] != "file": continue
                sent = line["value"]
                self.repos[repo][sent["path"]] = base64.b64decode(sent["content"])
            url = f"http://{self.headers['Host']}/{repo}/commit/{self.sha}"
            return self.answer(200, {"success": True, "commitOid": self.sha, "commitUrl": url,
                                     "hookOutput": ""})
        self.answer(404, {})


@pytest.fixture
def hub():
    Hub.repos, Hub.gated = {}, set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(endpoint, home, code, **env):
    "Run a few lines in a process that believes the hub to be at `endpoint`; what they print."
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_test",
           "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
           "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", **env}
    code = "from ddpm_edu import *\nimport torch\n" + code
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    return done.stdout if done.returncode == 0 else done.stderr


def same_files(a, b):
    """The same files with the same content; of weights the tensors, since safetensors orders its
    free text at random."""
    from safetensors.torch import load
    tensors = lambda files: load(files["unet/" + weights_file()])
    weights = [{k: v.tolist() for k, v in tensors(files).items()} for files in (a, b)]
    if a.keys() != b.keys() or weights[0] != weights[1]: return False
    return all(a[f] == b[f] for f in a if f.endswith(".json"))


def test_from_the_hub_and_back(hub, tmp_path, good):
    "Download (flat, folders, pickled, one variant), then from the cache offline, then an upload."
    files = {str(p.relative_to(good)): p.read_bytes() for p in good.rglob("*") if p.is_file()}
    unet = load(good).unet
    torch.save(unet.state_dict(), tmp_path/"old.bin")
    large = dict.fromkeys(("unet/diffusion_pytorch_model.fp16.safetensors",
                           "unet/diffusion_pytorch_model.bin", "demo.png"), b"not wanted")
    pickled = {f: b for f, b in files.items() if not f.endswith("safetensors")}
    pickled["unet/diffusion_pytorch_model.bin"] = (tmp_path/"old.bin").read_bytes()
    Hub.repos = {"a/folders": files | large, "a/pickled": pickled,
                 "a/flat": {f.split("/")[-1]: b for f, b in files.items()}}
    for name in Hub.repos:
        code = (f"p = DDPMPipeline.from_pretrained('{name}')\n"
                "print(p.unet.conv_in.weight.double().sum().item())")
        want = f"{unet.conv_in.weight.double().sum().item()}\n"
        assert ask(hub, tmp_path, code) == want
        # from the cache
        assert ask("http://127.0.0.1:9", tmp_path, code, HF_HUB_OFFLINE="1") == want
    assert not list(tmp_path.rglob("*demo.png")) and not list(tmp_path.rglob("*fp16*"))
    code = """
unet = UNet.from_pretrained('a/folders', subfolder='unet')
scheduler = DDPMScheduler.from_pretrained('a/folders', subfolder='scheduler')
folder = DDPMPipeline.download('a/folders')
print(unet.num_parameters(), len(scheduler), (folder/'model_index.json').is_file())"""
    assert ask(hub, tmp_path, code) == "44969 1000 True\n"
    ours = f"DDPMPipeline.from_pretrained({str(good)!r})"
    call = f"{ours}.push_to_hub('me/mine', commit_message='first', private=True)"
    sent = ask(hub, tmp_path, f"print({call})")
    assert "/me/mine/commit/" in sent and same_files(Hub.repos["me/mine"], files)
    third = f"{str(tmp_path/'third')!r}, push_to_hub=True, repo_id='me/third'"
    ask(hub, tmp_path, f"{ours}.save_pretrained({third})")
    ask(hub, tmp_path, f"UNet.from_pretrained({str(good/'unet')!r}).push_to_hub('me/network')")
    assert same_files(Hub.repos["me/third"], files)
    assert sorted(Hub.repos["me/network"]) == ["config.json", weights_file()]


def test_what_the_hub_may_answer(hub, tmp_path, good):
    files = {str(p.relative_to(good)): p.read_bytes() for p in good.rglob("*") if p.is_file()}
    Hub.repos, Hub.gated = {"a/b": files}, {"a/gated"}
    wanted = {"'a/nothing'": "check the spelling, or pass token=", "'a/gated'": "accept the terms",
              "'a/b', revision='v9'": "no revision 'v9'", "'a/b', variant='fp8'": "no weights at",
              "'a/b/c'": "not a hub id"}
    for call, words in wanted.items():
        assert words in ask(hub, tmp_path, f"DDPMPipeline.from_pretrained({call})"), call
    load_it = "DDPMPipeline.from_pretrained('a/b')"
    assert "go online once" in ask(hub, tmp_path/"empty", load_it, HF_HUB_OFFLINE="1")
    assert "go online once" in ask("http://127.0.0.1:9", tmp_path/"empty", load_it)
    push = "DDPMPipeline.from_config('tiny').push_to_hub('a/b')"
    assert "cannot upload to 'a/b'" in ask("http://127.0.0.1:9", tmp_path, push)
