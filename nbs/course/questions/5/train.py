r"""predict, then run Algorithm 1

Train a small network on points in the plane, with `torch.optim.Adam` for all of `parameters`, made once, before the first step: `lr=3e-3`, its other settings left at their defaults. In each of `steps` steps: draw 128 examples of the data with replacement, for each of them a timestep (uniform over $0,\dots,T-1$) and a noise of its own, all of them afresh and independently of each other; make $x_t$; take one step of the optimizer on the simple loss, the mean over all numbers of the squared error. The data are taken as they are, and nothing else happens to gradients, and nothing but the optimizer changes the weights. A good network comes below 0.5 here.
"""
import torch

POINTS = 3

WRITTEN = (
    "Predict before you run it: which mean squared error does a network have that always "
    "answers 0, and why? That is where training starts. Which error would a perfect network "
    "have, and is it 0?")
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


DRAWS = 2


def visible():
    yield 0, 50, 8, 1.0, 512, 300, 0.0


def draw(seed):
    "Another number of timesteps, clusters, rows and steps; small data, or first answers far off."
    more = ((20, 3, 0.3, 100, 150, 0.0), (150, 5, 4.0, 700, 400, 6.0))[seed % 2]
    return 7*seed + 1, *more


def observe(f, *args):
    from ddpm_edu.course.training_record import watched_training
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


MISTAKES = [(said, code) for said, codes in {
    "the model is told one t for the whole batch: each example has one of its own": [
        loop(t="torch.randint(len(abar), (1,)).expand(128)"),
    ],
    "the model is told t=0 whatever the t of x_t is: tell it that one": [
        loop(out="model(x_t, 0*t)"),
    ],
    "the model is told t as a share of T: it takes the whole number t": [
        loop(out="model(x_t, t/len(abar))"),
        loop(out="model(x_t, t/(len(abar)-1))"),
    ],
    "the model is told t+1 where x_t is made with t: tell it t itself": [
        loop(out="model(x_t, t+1)"),
    ],
    "the model is told T-1-t where x_t is made with t: tell it t itself": [
        loop(out="model(x_t, len(abar)-1-t)"),
    ],
    "the model is told another t than the one that x_t is made with: draw t once": [
        loop(out="model(x_t, torch.randint(len(abar), (128,)))"),
        loop(out="model(x_t, t.flip(0))"),
        loop(out="model(x_t, t.where(torch.rand(128) > 0.1, 0))"),
    ],
    "some timesteps never come: draw them uniformly from 0 to T-1, both ends included": [
        loop(t="torch.randint(1, len(abar), (128,))"),
        loop(t="torch.randint(len(abar)-1, (128,))"),
    ],
    "the timesteps are not uniform over 0..T-1": [
        loop(t="(torch.rand(128)*(len(abar)-1)).round().long()"),
        loop(t="(torch.rand(128)**2*len(abar)).long()"),
        loop(t="torch.arange(128) % len(abar)"),
    ],
    "some timesteps never come: draw them uniformly from 0 to T-1, all of them": [
        loop(before="fixed = torch.randint(len(abar), (128,))", t="fixed"),
        loop(t="torch.randint(5, (128,))"),
    ],
    "the examples are not drawn uniformly from all rows of the data, afresh in every step": [
        loop("data[torch.randint(len(data), (1,))].expand(128, -1)"),
        loop("data[:128]"),
        loop("data[torch.randint(128, (128,))]"),
        loop("data[:4].repeat(32, 1)"),
        loop(before="fixed = data[torch.randint(len(data), (128,))]", x0="fixed"),
    ],
    "the examples are drawn without replacement: the question asks for draws with it": [
        loop("data[torch.randperm(len(data))[:128]]"),
        loop("data[torch.arange(128*i, 128*i+128) % len(data)]"),
    ],
    "the noise comes again: draw it afresh for each example and each step": [
        loop(before="fixed = torch.randn(128, 2)", noise="fixed"),
        loop(before="n = None", each="n = n if i % 10 else torch.randn(128, 2)", noise="n"),
        loop(noise="torch.randn(1, 2).expand(128, 2)"),
    ],
    "the two numbers of a noise depend on each other": [
        loop(noise="torch.randn(128, 1).expand(128, 2)"),
    ],
    "the noise is not centred at 0: normal, not uniform": [
        loop(noise="torch.rand_like(x0)"),
    ],
    "the noise is not standard normal: torch.randn_like": [
        loop(noise="(torch.rand_like(x0) - 0.5)*12**0.5"),
    ],
    "all noises have one length: it is normal": [
        loop(noise="2**0.5*torch.nn.functional.normalize(torch.randn_like(x0))"),
    ],
    "the noise takes few values only": [
        loop(noise="torch.randint(2, x0.shape)*2.0 - 1"),
    ],
    "square roots are missing on both coefficients in x_t": [
        loop(x_t="a*x0 + (1-a)*noise"),
    ],
    "a square root is missing on the noise's coefficient in x_t": [
        loop(x_t="a.sqrt()*x0 + (1-a)*noise"),
    ],
    "the loss does not compare the output with the noise that is in x_t, or x_t is not "
    "made of rows of the data by equation (4)": [
        loop(out="model(x0, t)"),
        loop(loss="((out - torch.randn_like(x0))**2).mean()"),
        loop(before="data = (data - data.mean(0))/data.std(0)"),
        loop("data[torch.randint(len(data), (128,))] + 0.05*torch.randn(128, 2)"),
    ],
    "the network is trained to give the clean points: the target is the noise": [
        loop(loss="((out - x0)**2).mean()"),
    ],
    "the network is trained to give the velocity v: the target is the noise": [
        loop(loss="((out - (a.sqrt()*noise - (1-a).sqrt()*x0))**2).mean()"),
    ],
    "the network is trained to give the score: the target is the noise": [
        loop(loss="((out + noise/(1-a).sqrt())**2).mean()"),
    ],
    "the network is trained to give the noise minus the data: the target is the noise": [
        loop(loss="((out - (noise - x0))**2).mean()"),
    ],
    "the network is trained to give the shrunk data in x_t: the target is the noise": [
        loop(loss="((out - a.sqrt()*x0)**2).mean()"),
    ],
    "the target is the noise times its coefficient: it is the noise itself": [
        loop(loss="((out - (1-a).sqrt()*noise)**2).mean()"),
    ],
    "one of the two numbers of a point is not in the loss: it is a mean over all numbers": [
        loop(loss="((out - noise)[:, 0]**2).mean()"),
    ],
    "both numbers of the output are compared with one: each has a noise of its own": [
        loop(loss="((out - noise[:, :1])**2).mean()"),
    ],
    "one of the two numbers of x_t has no noise": [
        loop(x_t="a.sqrt()*x0 + (1-a).sqrt()*noise*torch.tensor([1.0, 0.0])"),
    ],
    "one of the two numbers of a noise is always the same": [
        loop(noise="torch.randn_like(x0)*torch.tensor([1.0, 0.0])"),
    ],
    "the sign is turned: the target is minus the noise that is in x_t": [
        loop(loss="((out + noise)**2).mean()"),
    ],
    "the target is the network's own input: it is shown x_t and must say the noise in it": [
        loop(loss="((out - x_t)**2).mean()"),
        loop(out="model(noise, t)"),
    ],
    "the noise is not in the loss: what is the target?": [
        loop(loss="(out**2).mean()"),
    ],
    "the loss is the absolute error: equation (14) has its square": [
        loop(loss="(out - noise).abs().mean()"),
    ],
    "the loss is the length of the error: equation (14) has its square": [
        loop(loss="(out - noise).norm(dim=1).mean()"),
    ],
    "the loss is a Huber loss (smooth L1): equation (14) has the square": [
        loop(loss="torch.nn.functional.smooth_l1_loss(out, noise)"),
        loop(loss="2*torch.nn.functional.huber_loss(out, noise, delta=4.0)"),
    ],
    "the loss is summed over the batch: the simple loss is a mean": [
        loop(loss="((out - noise)**2).sum()"),
    ],
    "the loss is twice the mean squared error: a mean over all numbers is asked for": [
        loop(loss="((out - noise)**2).sum(1).mean()"),
    ],
    "the network is trained to give the noise minus x_t: the target is the noise": [
        loop(loss="((x_t + out - noise)**2).mean()"),
    ],
    "the network is trained to give x_t minus the data: the target is the noise": [
        loop(loss="((out - (x_t - x0))**2).mean()"),
    ],
    "the two numbers of the noise have changed places": [
        loop(loss="((out - noise.flip(1))**2).mean()"),
    ],
    "some weights do not go the way of Adam's steps: are all in the optimizer, are its settings "
    "the defaults, and does nothing else touch gradients or weights?": [
        loop(between="parameters[0].grad.clamp_(-1e-3, 1e-3)"),
    ],
    "the loss has a minus sign: the optimizer makes the error larger": [
        loop(loss="-((out - noise)**2).mean()"),
    ],
    "the loss is 0.1 times the mean squared error: it has no such factor": [
        loop(loss="((out - noise)**2).mean()/10"),
    ],
    "50 % of the numbers have no part in the loss: is something clipped or left out? It is a mean "
    "over all numbers": [
        loop(loss="((out - noise)[:64]**2).mean()"),
        loop(loss="((out - noise)**2).max(1).values.mean()"),
    ],
    "all examples of a batch get one gradient: square each error, then take the mean": [
        loop(loss="((out - noise).mean(0)**2).mean()"),
        loop(loss="(out - noise).mean()**2"),
    ],
    "the gradients of a batch add up to 0: is its mean taken from output or error?": [
        loop(loss="(out - noise).var(0).mean()"),
        loop(loss="(out - noise).var()"),
    ],
    "all outputs of a batch are compared with one and the same target: wrong broadcasting? "
    "Look at the shapes": [
        loop(loss="((out[:, None] - noise)**2).mean()"),
    ],
    "the examples have different weights: the simple loss weighs them alike": [
        loop(loss="((1-a)*(out - noise)**2).mean()"),
    ],
    "8 examples in a step: the question asks for 128": [
        loop(x0="data[torch.randint(len(data), (8,))]", t="torch.randint(len(abar), (8,))"),
    ],
    "256 examples in a step: the question asks for 128": [
        loop(x0="data[torch.randint(len(data), (256,))]", t="torch.randint(len(abar), (256,))"),
    ],
    "10 steps of the optimizer where steps=300 was given": [
        loop(count="10"),
    ],
    "200 steps of the optimizer where steps=150 was given": [
        loop(count="max(steps, 200)"),
    ],
    "300 steps of the optimizer where steps=400 was given": [
        loop(count="min(steps, 300)"),
    ],
    "299 steps of the optimizer where steps=300 was given": [
        loop(count="steps-1"),
    ],
    "the weights change once in 2 batches: one step of the optimizer for each": [
        loop(step="if i % 2: optimizer.step()"),
        loop(step="if i % 2: optimizer.step(); optimizer.zero_grad()", zero="pass"),
    ],
    "the weights have not changed: is optimizer.step() there, and does nothing set the "
    "gradients back between backward() and step()?": [
        loop(step="pass"),
        loop(zero="pass", between="optimizer.zero_grad()"),
    ],
    "the gradients add up from step to step: is zero_grad() missing?": [
        loop(zero="pass"),
    ],
    "only 2 of the 6 parameters are trained": [
        loop(make="torch.optim.Adam(parameters[-2:], lr=3e-3)"),
    ],
    "the optimizer is another one: the question asks for torch.optim.Adam": [
        loop(make=adam("", "SGD", 0.1)),
        loop(make=adam("", "AdamW")),
    ],
    "the weights do not go the way of torch.optim.Adam(parameters, lr=3e-3): is it made once, "
    "with these settings, and does nothing else touch loss, gradients or weights?": [
        loop(make=adam(", betas=(0.5, 0.9)")),
        loop(make=adam(", weight_decay=1e-4")),
        loop(each="optimizer.param_groups[0]['lr'] = 3e-3*(1 - i/steps)"),
        loop(between="torch.nn.utils.clip_grad_norm_(parameters, 0.1)"),
        loop(loss="((out - noise)**2).mean() + 1e-3*sum((p*p).sum() for p in parameters)"),
    ],
    "the weights go uphill: the optimizer must make the loss smaller": [
        loop(make=adam(", maximize=True")),
    ],
    "two steps of the optimizer on each gradient: one is asked for": [
        loop(step="optimizer.step(); optimizer.step()"),
    ],
    "the list of parameters is changed: leave it as it is": [
        loop(make="torch.optim.Adam([parameters.pop() for _ in range(6)], lr=3e-3)"),
    ],
    "your function stops with ValueError: the network takes t of shape (128,), one number for "
    "each example: here its shape is (128, 1)": [
        loop(out="model(x_t, t[:, None])"),
    ],
    "the optimizer's step size is 0.001: the question asks for 0.003": [
        loop(make=adam("", lr="1e-3")),
    ],
    "every step is as long as the first: make the optimizer once, before the loop, so "
    "that it remembers the gradients": [
        loop(each="optimizer = torch.optim.Adam(parameters, lr=3e-3)"),
    ],
}.items() for code in codes]

RIGHT = [
    loop(loss="torch.nn.functional.mse_loss(out, noise)"),
    # Adam looks at each number by itself: one for each parameter is the same
    loop(make="[torch.optim.Adam([p], lr=3e-3) for p in parameters]",
         zero="[one.zero_grad() for one in optimizer]", step="[one.step() for one in optimizer]"),
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
