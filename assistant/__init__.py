"""What bot and workers share: answering, knowledge, database, models."""

import os

# numpy's matrices are small here, and questions many: a product that several threads share has to wait for all of them,
# on a busy machine fifty times as long as it takes. Read when numpy is loaded. (torch counts its own threads.)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
