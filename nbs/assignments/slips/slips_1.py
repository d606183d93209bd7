SLIPS = {
    "make_abar": [
        ("the logarithms are summed, but exp is missing at the end", "torch.cumsum(torch.log(1 - betas), 0)"),
    ],
}
