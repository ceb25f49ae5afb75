"""The agent's side, on Ray: collectors, shared buffer, learners, imagination, the Dyna algorithm, real evaluation."""
