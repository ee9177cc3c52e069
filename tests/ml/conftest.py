"""Lessons run on one thread each, so that two test processes share two cores, and no lesson phones home."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch or faiss is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["DEEPEVAL_TELEMETRY_OPT_OUT"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
