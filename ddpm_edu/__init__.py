"A book about Denoising Diffusion Probabilistic Models that compiles to a library."
__version__ = "0.1.0"
