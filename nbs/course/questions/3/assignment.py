"Assignment 3: what stands around the questions."
TITLE = "scores and Langevin dynamics"

INTRO = (
    "> Learning goals: compute the slope of a log-density, turn noise into a score and back, "
    "walk along it, and know what a walk gets wrong. With chapter 3. About 60 minutes, "
    "{points} points. What you write in words is marked by your lecturer, the rest automatically."
    "\n\n"
    "Everything happens in the plane or on the line: no images, no networks. Write your "
    "answer where a cell says `YOUR CODE HERE`, then run the folded cell below it, a test. A "
    "message says what may be the matter. When you hand in, other numbers and shapes are "
    "tried too. You may use torch, numpy and plain Python; please do not import the answer "
    "from a library.")

SETUP = "import math\nimport torch"

QUESTIONS = ["score", "tweedie", "langevin", "settled_variance", "anneal", "share_left"]
