locals {
  channels = concat(
    [for channel in google_monitoring_notification_channel.email : channel.name],
    var.notification_channels,
  )
  executions = "resource.type=\"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id=\"${var.workflow_name}\" AND metric.type=\"workflows.googleapis.com/finished_execution_count\""
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

  conditions {
    display_name = "The nightly workflow ended as failed"

    condition_threshold {
      filter          = "${local.executions} AND metric.labels.status=\"FAILED\""
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
      The error of the execution says which job failed and why: `gcloud workflows executions list ${var.workflow_name} --limit=3`,
      then `gcloud workflows executions describe`. Nothing of a failed run is visible in the table; what was computed waits in
      staging. Mend the cause and start the night again: `gcloud workflows run ${var.workflow_name} --data='{"run_date":"2026-11-24"}'`.
    EOT
  }
}

resource "google_monitoring_alert_policy" "late" {
  project               = var.project_id
  display_name          = "${var.name}: no night succeeded"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "No execution succeeded in ${var.late_after_hours} hours"

    condition_threshold {
      filter                  = "${local.executions} AND metric.labels.status=\"SUCCEEDED\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE"
      # Missing data counts only with a duration of a minute or more; both together are the hours.
      duration = "300s"

      aggregations {
        alignment_period   = "${var.late_after_hours * 3600 - 300}s"
        per_series_aligner = "ALIGN_DELTA"
      }

      trigger {
        count = 1
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Nothing started, or what started is still running. See the schedule (`gcloud scheduler jobs describe`) and the executions of `${var.workflow_name}`."
  }
}

resource "google_monitoring_alert_policy" "slow" {
  project               = var.project_id
  display_name          = "${var.name}: a job runs long"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

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
    content   = "It costs as long as it runs. The workflow cancels it at the deadline of the night; `gcloud dataflow jobs cancel` does at once, and what was computed is used by the next run."
  }
}

# Rejected rows of every reason over rows read: counters that every run has (beam_bert/pipeline/read.py, write.py).
resource "google_monitoring_alert_policy" "rejects" {
  project               = var.project_id
  display_name          = "${var.name}: many rows rejected"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

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
    projects = ["projects/${var.project_id}"]
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
