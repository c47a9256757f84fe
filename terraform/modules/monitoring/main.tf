data "google_project" "this" {
  project_id = var.project_id
}

locals {
  channels = concat(
    [for channel in google_monitoring_notification_channel.email : channel.name],
    var.notification_channels,
  )
  # Failed executions of a workflow, by its name.
  failures = {
    for purpose, name in { night = var.workflow_name, watch = var.watch_workflow_name } : purpose =>
    "resource.type=\"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id=\"${name}\" AND metric.type=\"workflows.googleapis.com/finished_execution_count\" AND metric.labels.status=\"FAILED\""
  }
  # An incident that stays open hears of no second failure; half an hour is the least there is.
  auto_close = "1800s"
  place      = "--project=${var.project_id} --location=${var.region}"
  jobs       = "resource.type=\"dataflow_job\" AND resource.labels.job_name=monitoring.regex.full_match(\"${var.name}-[0-9]{8}\")"
  counter    = "${local.jobs} AND metric.type=\"dataflow.googleapis.com/job/user_counter\""
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.emails)

  project      = var.project_id
  display_name = "${var.name}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_monitoring_alert_policy" "failed" {
  project               = var.project_id
  display_name          = "${var.name}: a night failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  alert_strategy {
    auto_close = local.auto_close
  }

  conditions {
    display_name = "The nightly workflow ended as failed"

    condition_threshold {
      filter          = local.failures.night
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      The error of the execution says which job failed and why:
      `gcloud workflows executions list ${var.workflow_name} ${local.place} --limit=3`, then
      `gcloud workflows executions describe EXECUTION --workflow=${var.workflow_name} ${local.place}`.
      Nothing of a failed run is visible in the table; what was computed waits in staging. Mend the cause and start the night again:
      `gcloud workflows run ${var.workflow_name} ${local.place} --data='{"run_date":"2026-11-24"}'`.
    EOT
  }
}

# Monitoring looks back 25 hours at most, and a night may end hours later than the last one without being
# late. So a workflow looks at the hour at which the night must have succeeded, and fails where it has not.
resource "google_monitoring_alert_policy" "late" {
  project               = var.project_id
  display_name          = "${var.name}: no night succeeded"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  alert_strategy {
    auto_close = local.auto_close
  }

  conditions {
    display_name = "No night had succeeded at the hour of ${var.watch_workflow_name}"

    condition_threshold {
      filter          = local.failures.watch
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Nothing started, or what started failed or still runs: `gcloud scheduler jobs describe ${var.workflow_name} ${local.place}` and
      `gcloud workflows executions list ${var.workflow_name} ${local.place} --limit=3`.
    EOT
  }
}

resource "google_monitoring_alert_policy" "slow" {
  project               = var.project_id
  display_name          = "${var.name}: a job runs long"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  alert_strategy {
    auto_close = local.auto_close
  }

  conditions {
    display_name = "A job has run for more than ${var.max_job_hours} hours"

    condition_threshold {
      filter          = "${local.jobs} AND metric.type=\"dataflow.googleapis.com/job/elapsed_time\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.max_job_hours * 3600
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "It costs as long as it runs. The workflow cancels it at the deadline of the night; `gcloud dataflow jobs cancel JOB_ID --project=${var.project_id} --region=${var.region}` does at once, and what was computed is used by the next run."
  }
}

# Rejected rows of every reason over rows read: counters that every run has (beam_bert/pipeline/read.py, write.py).
resource "google_monitoring_alert_policy" "rejects" {
  project               = var.project_id
  display_name          = "${var.name}: many rows rejected"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  alert_strategy {
    auto_close = local.auto_close
  }

  conditions {
    display_name = "More than ${var.max_reject_rate * 100} % of the rows were rejected"

    condition_threshold {
      filter             = "${local.counter} AND metric.labels.metric_name=monitoring.regex.full_match(\"rejects_.+\")"
      denominator_filter = "${local.counter} AND metric.labels.metric_name=\"rows_read\""
      comparison         = "COMPARISON_GT"
      threshold_value    = var.max_reject_rate
      # The first rows of a job may be bad and the rest good.
      duration = "600s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.job_name"]
      }

      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.job_name"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "See `rejects/<partition>/` of the output: file, row, reason, message, raw bytes."
  }
}

resource "google_billing_budget" "cost" {
  for_each = var.budget == null ? {} : { this = var.budget }

  billing_account = each.value.billing_account
  display_name    = "${var.name}: monthly cost"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"] # the API gives numbers back, and refuses ids
    labels   = each.value.labels
  }

  amount {
    specified_amount {
      currency_code = each.value.currency
      units         = tostring(each.value.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  # Spending so far says little on the 3rd of a month; the forecast does.
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = local.channels
    disable_default_iam_recipients   = false
  }
}
