"Assignment 5: the network and its training."
WAVES = "half = dim//2\nfreq = torch.exp(-math.log(10000)*torch.arange(half)/half)\nphase = t.float()[:, None]*freq\n"
GROUPS = "g = x.reshape(len(x), groups, -1)\n"
TRAIN = """optimizer = torch.optim.Adam(parameters, lr=3e-3)
for _ in range(steps):
    x0 = data[torch.randint(len(data), (128,))]
    t, noise = torch.randint(len(abar), (128,)), torch.randn_like(x0)
    a = abar[t][:, None]
    loss = ((model(a.sqrt()*x0 + (1-a).sqrt()*noise, t) - noise)**2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()"""
COUNT = "n = 2*c_in + 9*c_in*c_out + c_out + d*c_out + c_out + 2*c_out + 9*c_out**2 + c_out\n"
RIGHT = [
    ("q1", "f = 10000**(-torch.arange(dim//2)/(dim//2))\nreturn torch.cat([torch.sin(torch.outer(t.float(), f)), torch.cos(torch.outer(t.float(), f))], dim=-1)"),
    ("q1", "rows = []\nfor s in t.tolist():\n    w = [s*10000**(-i/(dim/2)) for i in range(dim//2)]\n    rows.append([math.sin(v) for v in w] + [math.cos(v) for v in w])\nreturn torch.tensor(rows)"),
    ("q1", "import numpy as np\nw = 10000.0**(-np.arange(dim//2)/(dim//2))\np = np.asarray(t, dtype='float64')[:, None]*w[None]\nreturn np.concatenate([np.sin(p), np.cos(p)], axis=1)"),
    ("q2", "B, C, H, W = x.shape\ng = x.double().view(B, groups, C//groups, H, W)\nm = g.mean((2, 3, 4), keepdim=True)\nv = ((g-m)**2).mean((2, 3, 4), keepdim=True)\nreturn ((g-m)/torch.sqrt(v+eps)).view(B, C, H, W)"),
    ("q2", "return torch.cat([(p - p.mean((1, 2, 3), keepdim=True))*torch.rsqrt(p.var((1, 2, 3), unbiased=False, keepdim=True) + eps) for p in x.chunk(groups, 1)], 1)"),
    ("q2", "import numpy as np\ng = x.numpy().reshape(len(x), groups, -1)\nreturn ((g - g.mean(-1, keepdims=True))/np.sqrt(g.var(-1, keepdims=True) + eps)).reshape(tuple(x.shape))"),
    ("q3", "w = torch.einsum('bnd,bmd->bnm', q, k)/math.sqrt(q.shape[-1])\nreturn torch.einsum('bnm,bme->bne', w.softmax(-1), v)"),
    ("q3", "s = (q.double()@k.double().mT)*q.shape[-1]**-0.5\ne = torch.exp(s - s.max(-1, keepdim=True).values)\nreturn (e@v.double())/e.sum(-1, keepdim=True)"),
    ("q3", "out = []\nfor qb, kb, vb in zip(q, k, v):\n    out.append(torch.stack([torch.softmax(kb@row/len(row)**0.5, 0)@vb for row in qb]))\nreturn torch.stack(out)"),
    ("q4", "conv = lambda a, b, k: a*b*k*k + b\nreturn 2*c_in + conv(c_in, c_out, 3) + (d+1)*c_out + 2*c_out + conv(c_out, c_out, 3) + (c_in != c_out)*conv(c_in, c_out, 1)"),
    ("q4", "nn = torch.nn\nparts = [nn.GroupNorm(1, c_in), nn.Conv2d(c_in, c_out, 3), nn.Linear(d, c_out), nn.GroupNorm(1, c_out), nn.Conv2d(c_out, c_out, 3)]\nif c_in != c_out: parts.append(nn.Conv2d(c_in, c_out, 1))\nreturn sum(p.numel() for m in parts for p in m.parameters())"),
    ("q5", "n = len(weights)\nout = decay**(n-1)*weights[0]\nfor i in range(1, n): out = out + (1-decay)*decay**(n-1-i)*weights[i]\nreturn out"),
    ("q5", "avg = weights[0].clone().double()\nfor w in weights[1:]: avg.mul_(decay).add_(w.double(), alpha=1-decay)\nreturn avg"),
    ("q5", "import functools\nreturn functools.reduce(lambda a, w: a + (1-decay)*(w-a), weights)"),
    ("q6", TRAIN.replace("((model(a.sqrt()*x0 + (1-a).sqrt()*noise, t) - noise)**2).mean()", "torch.nn.functional.mse_loss(model(a.sqrt()*x0 + (1-a).sqrt()*noise, t), noise)")),
    ("q6", "opt = torch.optim.Adam(parameters, lr=3e-3)\nfor step in range(steps):\n    opt.zero_grad()\n    i = torch.multinomial(torch.ones(len(data)), 128, replacement=True)\n    t = (torch.rand(128)*len(abar)).long()\n    z = torch.randn(128, 2)\n    x = abar[t, None]**0.5*data[i] + (1-abar[t, None])**0.5*z\n    ((z - model(x, t)).pow(2).sum()/256).backward()\n    opt.step()"),
    ("q6", "import numpy as np\nrng = np.random.default_rng(0)\nopt = torch.optim.Adam(parameters, lr=3e-3)\nfor _ in range(steps):\n    x0 = data[torch.from_numpy(rng.integers(0, len(data), 128))]\n    t = torch.from_numpy(rng.integers(0, len(abar), 128))\n    z = torch.from_numpy(rng.standard_normal((128, 2))).float()\n    a = abar[t].unsqueeze(1)\n    loss = torch.mean((model(a**0.5*x0 + (1-a)**0.5*z, t) - z)**2)\n    for p in parameters: p.grad = None\n    loss.backward()\n    opt.step()"),
    ("q7", "h = f(x)\nh = h + temb\nreturn g(h) + x"),
    ("q7", "torch.add(g(torch.add(temb, f(x))), x)"),
]
WRONG = [
    ("q1", "changed places", WAVES + "return torch.cat([phase.cos(), phase.sin()], 1)"),
    ("q1", "alternate", WAVES + "return torch.stack([phase.sin(), phase.cos()], 2).flatten(1)"),
    ("q1", "rise", WAVES.replace("-math.log", "math.log") + "return torch.cat([phase.sin(), phase.cos()], 1)"),
    ("q1", "not by d/2", WAVES.replace("/half)", "/dim)") + "return torch.cat([phase.sin(), phase.cos()], 1)"),
    ("q1", "not by d/2 - 1", WAVES.replace("/half)", "/(half-1))") + "return torch.cat([phase.sin(), phase.cos()], 1)"),
    ("q1", "(3, 2)", WAVES + "return phase.sin()"),
    ("q2", "square root", GROUPS + "g = (g - g.mean(2, keepdim=True))/(g.var(2, unbiased=False, keepdim=True) + eps)\nreturn g.reshape(x.shape)"),
    ("q2", "n - 1", GROUPS + "g = (g - g.mean(2, keepdim=True))/(g.var(2, keepdim=True) + eps).sqrt()\nreturn g.reshape(x.shape)"),
    ("q2", "instance norm", "return (x - x.mean((2, 3), keepdim=True))/(x.var((2, 3), unbiased=False, keepdim=True) + eps).sqrt()"),
    ("q2", "layer norm", "return (x - x.mean((1, 2, 3), keepdim=True))/(x.var((1, 2, 3), unbiased=False, keepdim=True) + eps).sqrt()"),
    ("q2", "eps belongs under", GROUPS + "g = (g - g.mean(2, keepdim=True))/(g.std(2, unbiased=False, keepdim=True) + eps)\nreturn g.reshape(x.shape)"),
    ("q2", "batch norm", "return (x - x.mean((0, 2, 3), keepdim=True))/(x.var((0, 2, 3), unbiased=False, keepdim=True) + eps).sqrt()"),
    ("q3", "division by the root of d is missing", "torch.softmax(q@k.transpose(1, 2), 2)@v"),
    ("q3", "divided by d", "torch.softmax(q@k.transpose(1, 2)/q.shape[2], 2)@v"),
    ("q3", "over the queries", "torch.softmax(q@k.transpose(1, 2)/q.shape[2]**0.5, 1)@v"),
    ("q3", "softmax is missing", "q@k.transpose(1, 2)/q.shape[2]**0.5@v"),
    ("q3", "number of rows", "torch.softmax(q@k.transpose(1, 2)/q.shape[1]**0.5, 2)@v"),
    ("q3", "after the softmax", "torch.softmax(q@k.transpose(1, 2), 2)/q.shape[2]**0.5@v"),
    ("q4", "shortcut is counted", COUNT + "return n + c_in*c_out + c_out"),
    ("q4", "biases", COUNT.replace(" + c_out", "") + "return n + (c_in*c_out if c_in != c_out else 0)"),
    ("q4", "norms are missing", COUNT.replace("2*c_in + ", "").replace("2*c_out + ", "") + "return n + (c_in*c_out + c_out if c_in != c_out else 0)"),
    ("q4", "from c' to c'", COUNT.replace("9*c_out**2", "9*c_in*c_out") + "return n + (c_in*c_out + c_out if c_in != c_out else 0)"),
    ("q5", "changed places", "average = weights[0]\nfor w in weights[1:]: average = (1-decay)*average + decay*w\nreturn average"),
    ("q5", "starts from 0", "average = 0*weights[0]\nfor w in weights: average = decay*average + (1-decay)*w\nreturn average"),
    ("q5", "plain mean", "torch.stack(weights).mean(0)"),
    ("q5", "(1 - decay) is missing", "average = weights[0]\nfor w in weights[1:]: average = decay*average + w\nreturn average"),
    ("q5", "backwards", "average = weights[-1]\nfor w in weights[-2::-1]: average = decay*average + (1-decay)*w\nreturn average"),
    ("q6", "weights have not changed", TRAIN.replace("    optimizer.step()", "    pass")),
    ("q6", "one t for the whole batch", TRAIN.replace("torch.randint(len(abar), (128,))", "torch.randint(len(abar), (1,)).expand(128)")),
    ("q6", "target is the noise", TRAIN.replace("- noise)**2", "- x0)**2")),
    ("q6", "wrong variance", TRAIN.replace("a.sqrt()*x0 + (1-a).sqrt()*noise", "a*x0 + (1-a)*noise")),
    ("q6", "zero_grad", TRAIN.replace("    optimizer.zero_grad()\n", "")),
    ("q6", "randn", TRAIN.replace("torch.randn_like", "torch.rand_like")),
    ("q6", "timesteps ever come", TRAIN.replace("torch.randint(len(abar), (128,))", "torch.randint(5, (128,))")),
    ("q6", "times in 600 steps", TRAIN.replace("range(steps)", "range(10)")),
    ("q6", "all of the data", TRAIN.replace("for _ in range(steps):\n    x0 = data[torch.randint(len(data), (128,))]\n", "x0 = data[:4].repeat(32, 1)\nfor _ in range(steps):\n")),
    ("q7", "two bugs are still there", "h = f(x)\nh = g(h) + temb\nreturn h"),
    ("q7", "input is not added", "g(f(x) + temb)"),
    ("q7", "too late", "x + g(f(x)) + temb"),
    ("q7", "added to the input", "x + g(f(x + temb))"),
    ("q7", "time is not used", "x + g(f(x))"),
]
