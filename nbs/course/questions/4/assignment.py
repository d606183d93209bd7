TITLE = "the reverse sampler"

INTRO = (
    "> Learning goals: go from a noise prediction to a clean guess, to a mean, to a step, "
    "to a sample; know what happens at the last step and why. With chapter 4. About 60 "
    "minutes, {points} points. What you write in words is marked by your lecturer, the rest "
    "automatically."
    "\n\n"
    "Timesteps are 0-based: `t = 0` is the last one that the sampler visits. Write your "
    "answer where a cell says `YOUR CODE HERE`, then run the folded cell below it, a test. "
    "A message says what may be the matter. When you hand in, other numbers, shapes and "
    "times are tried too. You may use torch, numpy and plain Python; please do not import "
    "the answer from a library.")

SETUP = "import math\nimport torch"

QUESTIONS = ["predict_x0", "reverse_mean", "reverse_step", "sample", "variance_after_step",
             "timesteps"]
