TITLE = "the network and its training"

INTRO = (
    "> Learning goals: build the parts of a U-Net that carry its ideas (time embedding, "
    "group norm, attention, residual block), count its parameters, average its weights, and "
    "train a small network by Algorithm 1. With chapters 5 and 7. About 130 minutes, "
    "{points} points. What you write in words is marked by your lecturer, the rest "
    "automatically. The training takes seconds."
    "\n\n"
    "Write your answer where a cell says `YOUR CODE HERE`, then run the folded cell below "
    "it, a test. A message says what may be the matter. When you hand in, other numbers and "
    "shapes are tried too. You may use torch (also `torch.nn` and `torch.nn.functional`), "
    "numpy and plain Python; please do not import the answer from a library.")

SETUP = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn"

QUESTIONS = ["time_embedding", "group_norm", "attention", "block_parameters", "ema", "train",
             "residual"]
