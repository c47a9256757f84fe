"""What people read after a job: HTML reports that need no network, and the documents behind them.

    render_evaluation(evaluation) -> report.html of `beam-bert evaluate`
    render_answer_evaluation(…)   -> the same with `--task answer`
    render_run_report(manifest)   -> report.html of a run
    render_failure(failure)       -> the same of one that committed nothing
    render_night(night, …)        -> night.html of a night

All need the extra [report] (jinja2; evaluations matplotlib), imported when they are called.
"""
