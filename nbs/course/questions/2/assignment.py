"Assignment 2: what stands around the questions."
TITLE = "the posterior and the bound"

INTRO = (
    "> Learning goals: write the posterior of a step, the divergence of two Gaussians, the "
    "probability of a byte, the weights of the bound, and the simple loss; know which "
    "belongs where. With chapter 2. About 100 minutes, {points} points. What you write in "
    "words is marked by your lecturer, the rest automatically."
    "\n\n"
    "Timesteps are 0-based: `t = 0` is the paper's $t = 1$. Write your answer where a cell "
    "says `YOUR CODE HERE`, then run the folded cell below it, a test. A message says what "
    "may be the matter. When you hand in, other numbers, shapes and times are tried too. "
    "You may use torch, numpy and plain Python; please do not import the answer from a "
    "library.")

SETUP = "import math\nimport torch"

QUESTIONS = ["posterior", "gaussian_kl", "log_prob_byte", "bound_weight", "simple_loss",
             "heaviest_step"]
