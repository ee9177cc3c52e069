"""Week 7: what preferences can teach, shown where everything can be computed and where it counts.

1. A toy policy: best-of-n, PPO, GRPO and DPO on the exact plane of reward against KL, below the best that is possible.
2. Over-optimisation: the same, against a reward model fitted on 4,000 pairs; and PPO following it over the edge.
3. TRL's losses on our batches, and its DPO trainer from the same weights.
4. Replies of an assistant (``hh_rlhf``): accuracy on held-out pairs, against chance and "longer wins".
5. Passages (``feedbackqa``): the product's model against similarity alone, with honest and with adversarial voters.
"""

from __future__ import annotations

import numpy as np
import torch

from ml.lesson import Run, main
from ml.week07_alignment.on_text import passages, replies
from ml.week07_alignment.on_toy import over_optimisation, policies, same_losses
from ml.week07_alignment.policy import new_decoder, pretrain
from ml.week07_alignment.reward_model import preference_pairs


def experiment(run: Run) -> None:
    generator = torch.Generator().manual_seed(run.seed)
    reference = new_decoder()
    for _ in run.track(pretrain(reference, 60 if run.quick else 300, np.random.default_rng(run.seed)), "pretraining"):
        pass
    pairs = preference_pairs(reference, 4000, generator)
    policies(run, reference, pairs, generator)
    over_optimisation(run, reference, pairs, generator)
    same_losses(run, generator)
    replies(run)
    passages(run)


if __name__ == "__main__":
    main(experiment, "Week 7: reward models, best of n, PPO, GRPO and DPO")
