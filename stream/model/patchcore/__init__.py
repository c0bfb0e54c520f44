"""PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265): arrays in, arrays out; no files, no sockets, no clock.

::

    preprocess   image or frame → (size, size, 3) uint8 network input, the same for fit and line
    backbones    a pretrained CNN, cut after the last level used, with the hash of its weights
    features     levels → locally aware patch features (section 3.1)
    coreset      greedy k-center selection of the memory bank (section 3.2, algorithm 1)
    search       nearest patch of the memory bank
    head         what marked defects have in common, added to the image score
    score        image score with re-weighting, anomaly map (section 3.3)
    spots        the connected spots of an anomaly map: sizes, place and peak
    rules        which of them pass: what does not count, what is within the specification, how many are too many
    calibrate    conformal thresholds from held-out good images
    inspector    all of it for a batch
"""
