"Deliberate one-line mistakes in chapters 1 to 4: each must fail in a check of its own chapter."
import pytest

from mutants import chapter_cells, listed, run_mutants

mistakes = {
    "01_forward_process": [
        ("return line(beta_start**0.5, beta_end**0.5)**2",
         "return line(beta_start**0.5, beta_end**0.5)"),
        ("(beta_end - beta_start) + beta_start", "(beta_end - beta_start)"),
        ("(u + 0.008)/1.008", "u/1.008"),
        ("min(1 - remains", "max(1 - remains"),
        ("remains((i+1)/T)/remains(i/T)", "remains(i/T)/remains((i+1)/T)"),
        ("(1 - betas).cumprod(0))", "(1 - betas))"),
        ("prev = torch.cat([abar.new_ones(1), abar[:-1]])\n        self.T",
         "prev = abar\n        self.T"),
        ("self.sqrt_one_minus_alphas_cumprod = (1 - abar).sqrt()",
         "self.sqrt_one_minus_alphas_cumprod = 1 - abar"),
        ("(1 - prev)/(1 - abar)*betas", "betas"),
        ("prev.sqrt()*betas/(1 - abar)", "prev*betas/(1 - abar)"),
        ("alphas.sqrt()*(1 - prev)/(1 - abar)", "alphas.sqrt()*(1 - abar)/(1 - prev)"),
        ("self.snr = abar/(1 - abar)", "self.snr = abar/(1 - abar).sqrt()"),
        ("return (a*x0 + s*noise)", "return (s*x0 + a*noise)"),
        ("return (a*noise - s*x0)", "return (a*noise + s*x0)"),
        ("return a*x_t - s*output", "return a*x_t + s*output"),
        ("return (x_t - s*output)/a", "return (x_t - s*output)/a**2"),
        ("eps = (x_t - a*x0)/s", "eps = (x_t - x0)/s"),
        ("0.5*(mean**2 + (var - 1 - var.log()))", "0.5*(mean**2 + (var - 1 + var.log()))"),
        ("(root - last)*(first/(first - last))", "root - last"),
        ("torch.where(prev > 0, abar/prev, 0.)", "abar"),
        ("found.view(-1, *[1]*(x.ndim-1))", "found.view(*[1]*(x.ndim-1), -1)"),
        ("var = small if kind.startswith", "var = self.betas if kind.startswith"),
        ("small[1:2] if self.T > 1", "small[0:1] if self.T > 1"),
        ("(0.5*var.log()).exp() if", "var.log().exp() if"),
        ("else var.sqrt()", "else var"),
        ("round(T - k*stride) - 1", "round(T - k*stride)"),
        ("*(T//n) + steps_offset", "*(T//n)"),
    ],
    "02_variational_bound": [
        ("schedule.reverse_variance(variance_type, first=\"second\")",
         "schedule.reverse_variance(variance_type)"),
        ("return said[:, :C]", "return said[:, -C:]"),
        ("-0.5*((x - mean)**2/var + (2*math.pi*var).log())",
         "-0.5*((x - mean)**2/var + (2*math.pi*var).log().sqrt())"),
        ("schedule, xs[t+1], ts, variance_type", "schedule, xs[t], ts, variance_type"),
        ("0.5*((var2/var1).log() + (var1 + (mean1 - mean2)**2)/var2 - 1)",
         "0.5*((var2/var1).log() + (var1 + (mean1 - mean2)**2)/var2)"),
        ("upper = ((byte + 0.5)/127.5", "upper = ((byte + 0.25)/127.5"),
        ("torch.where(byte == 255, last, inside)", "inside"),
        ("torch.log1p(-(log_lo - log_hi).exp())", "torch.log1p(-(log_hi - log_lo).exp())"),
        ("s.betas**2/(2*var*s.alphas", "s.betas/(2*var*s.alphas"),
        ("s.alphas*(1 - s.alphas_cumprod))", "s.alphas_cumprod*(1 - s.alphas_cumprod))"),
        ("BoundTerms(schedule.prior_kl(x0)/bits", "BoundTerms(0*schedule.prior_kl(x0)/bits"),
        ("return t, 1/(len(p)*p[t])", "return t, 1/p[t]"),
        ("(v + 1)/2*large + (1 - v)/2*small", "(v + 1)/2*small + (1 - v)/2*large"),
        ("v = said[:, said.shape[1]//2:]", "v = said[:, :said.shape[1]//2]"),
        ("nats = torch.where(first, own, kl())", "nats = kl()"),
        ("nats = kl() if t else last(mean, var)", "nats = kl()"),
        ("self.L_T + self.L_t.sum(1) + self.L_0", "self.L_T + self.L_t.mean(1) + self.L_0"),
    ],
    "03_score_matching": [
        ("return -eps/schedule", "return eps/schedule"),
        ("return -score*schedule.at(\"sqrt_one_minus_alphas_cumprod\"",
         "return -score*schedule.at(\"sqrt_alphas_cumprod\""),
        ("return divergence + 0.5*(s**2).sum(1)", "return divergence + (s**2).sum(1)"),
        ("divergence = divergence + slope[:, i]", "divergence = divergence + slope[:, 0]"),
        ("x + delta/2*s + delta**0.5*z", "x + delta*s + delta**0.5*z"),
        ("delta/2*s + delta**0.5*z", "delta/2*s + delta*z"),
        ("scale*(1 - abar), steps", "scale*abar, steps"),
    ],
    "appendix/A2_toys": [
        ("gain = abar.sqrt()*", "gain = abar*"),
        ("var = abar*var0 + 1 - abar", "var = abar*var0 + 1"),
        ("abar**0.5*self.means", "abar*self.means"),
        ("w[deals < len(x)] = 1/len(x)", "w[deals < len(x)] = 1/len(y)"),
        ("(energy >= energy[0])", "(energy > energy[0] + 1)"),
        ("(expected.var()/len(x) + expected", "(expected.var()/len(x)**2 + expected"),
    ],
    "04_reverse_sampler": [
        ("prev = prev + self.noise_scale(k, v)*z", "prev = prev + self.noise_scale(k, v)**2*z"),
        ("if t > 0:", "if t >= 0:"),
        ("z = self.randn(output.shape, generator, sample.device, model_output.dtype)",
         "z = torch.rand(output.shape, generator=generator).to(output)"),
        ("learned_variance(self.steps, v, k, \"own\").sqrt()",
         "learned_variance(self.steps, v, k, \"second\").sqrt()"),
        ("learned_variance(self.steps, v, k, \"own\").sqrt()",
         "learned_variance(self.steps, v, k, \"own\")"),
        ("return learned_variance(self.steps, v, k,", "return learned_variance(self.steps, -v, k,"),
        ("self.steps = self.schedule.respace(timesteps)", "self.steps = self.schedule"),
        ("return model_output[:, :C], v", "return model_output[:, C:], v"),
        ("x0.clamp(-self.limit, self.limit)", "x0.clamp(0, self.limit)"),
        ("return x0.clamp(-s, s)/s", "return x0.clamp(-s, s)"),
        ("return self.schedule.velocity(sample, t, noise)",
         "return self.schedule.velocity(noise, t, sample)"),
    ],
}
cases = [(chapter, old, new) for chapter, changes in mistakes.items() for old, new in changes]


def test_there_are_enough_of_them():
    assert len(cases) >= 40 and len(set(cases)) == len(cases)
    for case in cases: listed(*case)                                   # each fits exactly one place


@pytest.mark.slow
@pytest.mark.parametrize("chapter", mistakes)
def test_every_listed_mistake_is_caught(chapter):
    healthy, = run_mutants(chapter, [(0, chapter_cells(chapter)[0][0])])
    assert healthy is None, f"the chapter fails without any mistake: {healthy}"
    changes = mistakes[chapter]
    results = run_mutants(chapter, [listed(chapter, old, new) for old, new in changes], jobs=2)
    print(f"{chapter}: {sum(r is not None for r in results)} of {len(results)} caught")
    alive = [change for change, r in zip(changes, results) if r is None]
    assert not alive, f"not noticed: {alive}"
    strange = [(c, r) for c, r in zip(changes, results)
               if "timed out" in str(r) or "SyntaxError" in str(r)]
    assert not strange, strange
