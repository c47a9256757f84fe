"""The nightly job: refresh the model if that is due and helps, then classify what is new.

    train     fine-tune where the labels have changed since any version that the store holds
    gate      measure the candidate against production on the same rows, write the verdict down
    promote   move production, if the verdict was good
    classify  read what is not done under the model in production

No state is kept beside the model store and the manifests: a version's record says what it was
trained on, the store's history what was decided about it, the manifests which files are done. So
each step sees for itself whether it is done, and a night that was killed is simply run again.
"""
