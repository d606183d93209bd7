"provisional, replaced by the export of chapter 01"
import math, torch
from torch import Tensor
from .checks import check_choice, check_int, check_number
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
PREDICTION_TYPES = ("epsilon", "sample", "v_prediction", "mu")
def make_betas(schedule="linear", T=1000, beta_start=1e-4, beta_end=0.02):
    check_choice("beta_schedule", schedule, SCHEDULES)
    check_int("num_train_timesteps", T)
    check_number("beta_start", beta_start, 0, 1, open_lo=True, open_hi=True)
    check_number("beta_end", beta_end, 0, 1, open_lo=True, open_hi=True)
    if schedule == "linear": return torch.linspace(beta_start, beta_end, T, dtype=torch.float32)
    if schedule == "scaled_linear": return torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float32)**2
    if schedule == "sigmoid": return torch.sigmoid(torch.linspace(-6, 6, T))*(beta_end-beta_start) + beta_start
    abar = lambda u: math.cos((u+0.008)/1.008*math.pi/2)**2
    return torch.tensor([min(1-abar((t+1)/T)/abar(t/T), 0.999) for t in range(T)], dtype=torch.float32)
def rescale_zero_terminal_snr(betas):
    s = (1-betas).cumprod(0).sqrt(); first, last = s[0].clone(), s[-1].clone()
    abar = ((s-last)*(first/(first-last)))**2
    return 1 - torch.cat([abar[:1], abar[1:]/abar[:-1]])
class NoiseSchedule:
    def __init__(self, betas):
        betas = torch.as_tensor(betas); self.betas = betas if betas.is_floating_point() else betas.float()
        self.alphas = 1-self.betas; self.alphas_cumprod = self.alphas.cumprod(0); self._derive()
    def _derive(self):
        abar = self.alphas_cumprod
        self.alphas_cumprod_prev = torch.cat([abar.new_ones(1), abar[:-1]])
        self.sqrt_alphas_cumprod, self.sqrt_one_minus_alphas_cumprod = abar.sqrt(), (1-abar).sqrt()
        self.posterior_variance = (1-self.alphas_cumprod_prev)/(1-abar)*self.betas
        self.posterior_mean_coef1 = self.alphas_cumprod_prev.sqrt()*self.betas/(1-abar)
        self.posterior_mean_coef2 = self.alphas.sqrt()*(1-self.alphas_cumprod_prev)/(1-abar)
        self.snr = abar/(1-abar); self.log_snr = self.snr.log(); self.T = len(abar)
    def __len__(self): return self.T
    @classmethod
    def from_alphas_cumprod(cls, abar):
        self = cls.__new__(cls); self.alphas_cumprod = abar
        self.alphas = abar/torch.cat([abar.new_ones(1), abar[:-1]]); self.betas = 1-self.alphas; self._derive(); return self
    def respace(self, timesteps): return type(self).from_alphas_cumprod(self.alphas_cumprod[torch.as_tensor(timesteps)])
    def double(self): return type(self)(self.betas.double())
    def _at(self, table, t, x):
        t = torch.as_tensor(t, device=x.device); c = table.to(x.device)[t].to(x.dtype)
        return c.view(-1, *[1]*(x.ndim-1)) if c.ndim else c
    def q_sample(self, x0, t, noise): return self._at(self.sqrt_alphas_cumprod, t, x0)*x0 + self._at(self.sqrt_one_minus_alphas_cumprod, t, x0)*noise
    def velocity(self, x0, noise, t): return self._at(self.sqrt_alphas_cumprod, t, x0)*noise - self._at(self.sqrt_one_minus_alphas_cumprod, t, x0)*x0
