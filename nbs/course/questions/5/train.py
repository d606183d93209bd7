r"""predict, then run Algorithm 1

Train a small network on points in the plane, with one optimizer, made once for all of `parameters`: `torch.optim.Adam` with `lr=3e-3`, its other settings left at their defaults. In each of `steps` steps: draw 128 examples of the data with replacement, for each of them a timestep (uniform over $0,\dots,T-1$) and a noise of its own, all of them afresh; make $x_t$; take one step of the optimizer on the simple loss, the mean over all numbers of the squared error. The data are taken as they are, and nothing else happens to gradients or weights between `backward` and `step`. A good network comes below 0.5 here.
"""
import torch

POINTS = 3

WRITTEN = r"""Predict before you run it: which mean squared error does a network have that always answers 0, and why? That is where training starts. Which error would a perfect network have, and is it 0?"""
WRITTEN_POINTS = 1


def train(model, parameters, data, abar, steps):
    "model(x_t (B, 2), t (B,)) -> (B, 2); parameters: list; data (N, 2); abar (T,) -> nothing"
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(steps):
        x0 = data[torch.randint(len(data), (128,))]
        t, noise = torch.randint(len(abar), (128,)), torch.randn_like(x0)
        a = abar[t][:, None]
        loss = ((model(a.sqrt()*x0 + (1-a).sqrt()*noise, t) - noise)**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


DRAWS = 3


def visible():
    yield 0, 50, 8, 1.0


def draw(seed): return 7*seed + 1, (20, 50, 35)[seed % 3], (3, 5, 8)[seed % 3], (1.0, 4.0, 0.3)[seed % 3]


def observe(f, *args):
    from ddpm_edu.course.training_check import watched_training
    return watched_training(f, *args)


def verdict(parts, *args):
    from ddpm_edu.course.training_check import verdict
    return verdict(parts, *args)


def loop(x0="data[torch.randint(len(data), (128,))]", t="torch.randint(len(abar), (128,))",
         noise="torch.randn_like(x0)", x_t="a.sqrt()*x0 + (1-a).sqrt()*noise",
         out="model(x_t, t)", loss="((out - noise)**2).mean()", zero="optimizer.zero_grad()",
         make="torch.optim.Adam(parameters, lr=3e-3)", step="optimizer.step()",
         before="pass", each="pass", between="pass", count="steps"):
    "The solution with one part changed."
    return f"""
    optimizer = {make}
    {before}
    for i in range({count}):
        {each}
        x0 = {x0}
        t = {t}
        noise = {noise}
        a = abar[t][:, None]
        x_t = {x_t}
        out = {out}
        loss = {loss}
        {zero}
        loss.backward()
        {between}
        {step}"""


def adam(more, kind="Adam", lr="3e-3"): return f"torch.optim.{kind}(parameters, lr={lr}{more})"


ONE_T = "one t for the whole batch: draw a timestep for each example"
UNIFORM = "the timesteps do not come equally often: draw them uniformly, 0 and T-1 included"
STALE_T = "the timesteps are the same again and again: draw them afresh in every step"
ONE_IMAGE = "one example for the whole batch: draw 128 of them"
ALL_DATA = "the examples are not drawn from all of the data: draw fresh ones in every step"
AGAIN = "the examples are drawn without replacement: each draw is from all of the data"
STALE = "the noise is the same again and again: draw it afresh in every step"
ONE_NOISE = "one noise for several numbers: each coordinate of each example has its own"
NORMAL = "the noise is not normal: randn, not rand"
VARIANCE = ("x_t has the wrong variance at some t: is a square root missing, on abar or on "
            "1 - abar, or is x_0 shown instead of x_t?")
OTHER = "the target is another noise than the one in x_t"
TARGET = "the network predicts something else: its target is the noise"
LOSS = "the loss is another one: the question asks for the mean of the squares"
WEIGHTS = "some timesteps weigh more in the loss: the simple loss weighs all alike"
SIZE = "the batch has another size: the question asks for 128 examples in a step"
COUNT = "one step of the optimizer for each of `steps` draws: they are more, or fewer"
SOME = "some of the parameters are not trained: the optimizer takes all of them"
ADAM = "the optimizer is another one: the question asks for torch.optim.Adam"
SETTINGS = "Adam's other settings are not the defaults: the question asks for lr=3e-3 alone"
RATE = "the step size is not 3e-3 throughout"
MANY = "there is more than one optimizer: make it once, before the loop, for all parameters"
GRAD = "the gradients are changed between `backward` and `step`: nothing happens there"
DATA = "the data are changed before they are used: x_0 is an example as it is"
TOLD = "the network is told another t than the one in x_t: it takes t as it is"

MISTAKES = [
    (ONE_T, loop(t="torch.randint(len(abar), (1,)).expand(128)")),
    (UNIFORM, loop(t="torch.randint(5, (128,))")),
    (UNIFORM, loop(t="torch.randint(1, len(abar), (128,))")),
    (UNIFORM, loop(t="torch.randint(len(abar)-1, (128,))")),
    (UNIFORM, loop(t="(torch.rand(128)*(len(abar)-1)).round().long()")),
    (UNIFORM, loop(t="(torch.rand(128)**2*len(abar)).long()")),
    (STALE_T, loop(before="fixed = torch.randint(len(abar), (128,))", t="fixed")),
    (STALE_T, loop(t="torch.arange(128) % len(abar)")),
    (ONE_IMAGE, loop("data[torch.randint(len(data), (1,))].expand(128, -1)")),
    (ALL_DATA, loop("data[:128]")),
    (ALL_DATA, loop("data[torch.randint(128, (128,))]")),
    (ALL_DATA, loop("data[:4].repeat(32, 1)")),
    (ALL_DATA, loop(before="fixed = data[torch.randint(len(data), (128,))]", x0="fixed")),
    (AGAIN, loop("data[torch.randperm(len(data))[:128]]")),
    (AGAIN, loop("data[torch.arange(128*i, 128*i+128) % len(data)]")),
    (STALE, loop(before="fixed = torch.randn(128, 2)", noise="fixed")),
    (STALE, loop(before="n = None", each="n = n if i % 10 else torch.randn(128, 2)", noise="n")),
    (ONE_NOISE, loop(noise="torch.randn(1, 2).expand(128, 2)")),
    (ONE_NOISE, loop(noise="torch.randn(128, 1).expand(128, 2)")),
    ("the noise is not centred at 0: normal (randn), not uniform (rand)",
     loop(noise="torch.rand_like(x0)")),
    (NORMAL, loop(noise="(torch.rand_like(x0) - 0.5)*12**0.5")),
    (NORMAL, loop(noise="torch.randint(2, x0.shape)*2.0 - 1")),
    (VARIANCE, loop(x_t="a*x0 + (1-a)*noise")),
    (VARIANCE, loop(x_t="a.sqrt()*x0 + (1-a)*noise")),
    (VARIANCE, loop(out="model(x0, t)")),
    (OTHER, loop(loss="((out - torch.randn_like(x0))**2).mean()")),
    ("the network predicts the clean points: its target is the noise",
     loop(loss="((out - x0)**2).mean()")),
    ("the sign is turned: the network predicts minus the noise",
     loop(loss="((out + noise)**2).mean()")),
    (TARGET, loop(loss="((out - x_t)**2).mean()")),
    (TARGET, loop(loss="(out**2).mean()")),
    ("the loss is the absolute error: equation (14) has its square",
     loop(loss="(out - noise).abs().mean()")),
    (LOSS, loop(loss="torch.nn.functional.smooth_l1_loss(out, noise)")),
    (LOSS, loop(loss="((out - noise)**2).sum()")),
    (LOSS, loop(loss="((out - noise)**2).sum(1).mean()")),
    (WEIGHTS, loop(loss="((1-a)*(out - noise)**2).mean()")),
    (SIZE, loop(x0="data[torch.randint(len(data), (8,))]", t="torch.randint(len(abar), (8,))")),
    (SIZE, loop(x0="data[torch.randint(len(data), (256,))]", t="torch.randint(len(abar), (256,))")),
    (COUNT, loop(count="10")),
    (COUNT, loop(count="steps-1")),
    (COUNT, loop(step="if i % 2: optimizer.step()")),
    (COUNT, loop(step="if i % 2: optimizer.step(); optimizer.zero_grad()", zero="pass")),
    ("the weights have not changed: are backward() and optimizer.step() there?", loop(step="pass")),
    ("the weights have not changed: does zero_grad() come between backward() and step()?",
     loop(zero="pass", between="optimizer.zero_grad()")),
    ("zero_grad() is missing: the gradients of all steps add up", loop(zero="pass")),
    (SOME, loop(make="torch.optim.Adam(parameters[-2:], lr=3e-3)")),
    (ADAM, loop(make=adam("", "SGD", 0.1))),
    (ADAM, loop(make=adam("", "AdamW"))),
    (SETTINGS, loop(make=adam(", betas=(0.5, 0.9)"))),
    (SETTINGS, loop(make=adam(", weight_decay=1e-4"))),
    (RATE, loop(make=adam("", lr="1e-3"))),
    (RATE, loop(each="optimizer.param_groups[0]['lr'] = 3e-3*(1 - i/steps)")),
    (MANY, loop(each="optimizer = torch.optim.Adam(parameters, lr=3e-3)")),
    (MANY, loop(before="second = torch.optim.Adam(parameters[3:], lr=3e-3)",
                make="torch.optim.Adam(parameters[:3], lr=3e-3)",
                zero="optimizer.zero_grad(); second.zero_grad()",
                step="optimizer.step(); second.step()")),
    (GRAD, loop(between="torch.nn.utils.clip_grad_norm_(parameters, 0.1)")),
    (DATA, loop(before="data = (data - data.mean(0))/data.std(0)")),
    (DATA, loop("data[torch.randint(len(data), (128,))] + 0.05*torch.randn(128, 2)")),
    (TOLD, loop(out="model(x_t, 0*t)")),
    (TOLD, loop(out="model(x_t, t/len(abar))")),
]

RIGHT = [
    loop(loss="torch.nn.functional.mse_loss(out, noise)"),
    loop(zero="optimizer.zero_grad(set_to_none=False)",
         loss="torch.mean(torch.square(noise - out))"),
    """
    opt = torch.optim.Adam(parameters, lr=3e-3)
    for step in range(steps):
        opt.zero_grad()
        i = torch.multinomial(torch.ones(len(data)), 128, replacement=True)
        t = (torch.rand(128)*len(abar)).long()
        z = torch.randn(128, 2)
        x = abar[t, None]**0.5*data[i] + (1-abar[t, None])**0.5*z
        ((z - model(x, t)).pow(2).sum()/256).backward()
        opt.step()""",
    """
    import numpy as np
    rng = np.random.default_rng(0)
    opt = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(steps):
        x0 = data[torch.from_numpy(rng.integers(0, len(data), 128))]
        t = torch.from_numpy(rng.integers(0, len(abar), 128))
        z = torch.from_numpy(rng.standard_normal((128, 2))).float()
        a = abar[t].unsqueeze(1)
        loss = torch.mean((model(a**0.5*x0 + (1-a)**0.5*z, t) - z)**2)
        for p in parameters: p.grad = None
        loss.backward()
        opt.step()""",
    """
    g = torch.Generator().manual_seed(7)
    adam, done = torch.optim.Adam(parameters, 3e-3), 0
    signal, spread = abar.double().sqrt(), (1 - abar.double()).sqrt()
    while done < steps:
        rows = torch.randint(0, len(data), (128,), generator=g)
        t = torch.randint(0, len(abar), (128,), generator=g)
        eps = torch.randn(128, 2, generator=g)
        x_t = signal[t].view(-1, 1)*data[rows].double() + spread[t].view(-1, 1)*eps.double()
        loss = ((model(x_t.float(), t) - eps)**2).mean()
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        done += 1""",
    """
    def error():
        x0 = torch.stack([data[i] for i in torch.randint(len(data), (128,)).tolist()])
        t = torch.randint(len(abar), (128,))
        eps = torch.empty_like(x0).normal_()
        a = abar.gather(0, t).reshape(128, 1)
        return (model(torch.sqrt(a)*x0 + torch.sqrt(1-a)*eps, t) - eps).square().mean()
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    for step in range(steps):
        loss = error()
        for p, grad in zip(parameters, torch.autograd.grad(loss, parameters)): p.grad = grad
        optimizer.step()""",
    """
    from torch.utils.data import DataLoader, RandomSampler, TensorDataset
    points = TensorDataset(data)
    sampler = RandomSampler(points, replacement=True, num_samples=128*steps)
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    for (x0,) in DataLoader(points, batch_size=128, sampler=sampler):
        t, noise = torch.randint(len(abar), (len(x0),)), torch.randn(x0.shape)
        x_t = abar[t][:, None].sqrt()*x0 + (1-abar[t])[:, None].sqrt()*noise
        optimizer.zero_grad()
        (model(x_t, t) - noise).pow(2).mean().backward()
        optimizer.step()""",
    """
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    def closure():
        optimizer.zero_grad()
        x0 = data[torch.randint(len(data), (128,))]
        t, noise = torch.randint(len(abar), (128,)), torch.randn(128, 2)
        a = abar[t][:, None]
        loss = ((model(a.sqrt()*x0 + (1-a).sqrt()*noise, t) - noise)**2).mean()
        loss.backward()
        return loss
    for _ in range(steps): optimizer.step(closure)""",
    """
    import random
    optimizer = torch.optim.Adam([{"params": parameters}], lr=3e-3)
    for _ in range(steps):
        x0 = data[random.choices(range(len(data)), k=128)]
        t = torch.tensor([random.randrange(len(abar)) for _ in range(128)])
        noise = torch.normal(torch.zeros(128, 2), torch.ones(128, 2))
        x_t = torch.lerp(0*x0, x0, abar[t].sqrt()[:, None]) + (1-abar[t]).sqrt()[:, None]*noise
        optimizer.zero_grad()
        torch.nn.MSELoss()(model(x_t, t), noise).backward()
        optimizer.step()""",
]
