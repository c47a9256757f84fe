locals {
  output_parts  = regex("^gs://([^/]+)/?(.*)$", var.classify["output"])
  output_prefix = trimsuffix(local.output_parts[1], "/")

  settings = jsonencode({
    project       = var.project_id
    region        = var.region
    name          = var.name
    time_zone     = var.schedule.time_zone
    partition_key = var.partition_key
    output_bucket = local.output_parts[0]
    output_prefix = local.output_prefix == "" ? "" : "${local.output_prefix}/"
    deadline_s    = var.limits.deadline_hours * 3600
    poll_s        = var.limits.poll_s
    attempts      = var.limits.attempts
    labels        = var.labels
  })
  classify = jsonencode({
    container_spec_gcs_path = var.template.container_spec_gcs_path
    environment             = var.template.environment
    # Only what is new: nothing moves delivered documents away, so a night would read all of them again.
    parameters = merge({ incremental = "true" }, var.template.parameters, var.classify)
  })
  # tomap: both arms of a condition need one type.
  machine = var.training == null ? tomap({}) : merge(
    tomap({ machineType = var.training.machine_type }),
    var.training.accelerator == null ? tomap({}) : tomap({
      acceleratorType  = var.training.accelerator.type
      acceleratorCount = tostring(var.training.accelerator.count)
    }),
  )
  training = var.training == null ? jsonencode({ enabled = false }) : jsonencode({
    enabled         = true
    image           = var.training.image
    service_account = var.training.service_account
    machine         = local.machine
    timeout_s       = var.training.timeout_hours * 3600
    deadline_s      = var.training.deadline_hours * 3600
    # Both arms as text: a condition's arms need one type.
    encryption       = jsondecode(var.kms_key_name == null ? "{}" : jsonencode({ encryptionSpec = { kmsKeyName = var.kms_key_name } }))
    bucket           = var.training.bucket
    prefix           = var.training.prefix
    train_command    = var.training.train_command
    evaluate_command = var.training.evaluate_command
    promote_command  = var.training.promote_command
  })
}

resource "google_workflows_workflow" "nightly" {
  project                 = var.project_id
  region                  = var.region
  name                    = "${var.name}-nightly"
  description             = "Refreshes the model where that is due and helps, then classifies the day's documents."
  service_account         = var.launcher_service_account
  source_contents         = file("${path.module}/nightly.yaml")
  call_log_level          = "LOG_ERRORS_ONLY"
  execution_history_level = "EXECUTION_HISTORY_BASIC"
  crypto_key_name         = var.kms_key_name
  deletion_protection     = var.deletion_protection
  labels                  = var.labels

  user_env_vars = {
    SETTINGS = local.settings
    CLASSIFY = local.classify
    TRAINING = local.training
  }

  lifecycle {
    # https://cloud.google.com/workflows/docs/use-environment-variables: 4 KiB each.
    precondition {
      condition     = alltrue([for text in [local.settings, local.classify, local.training] : length(text) < 4096])
      error_message = "The settings of the workflow do not fit: each of SETTINGS, CLASSIFY and TRAINING may have 4,095 characters. Shorten the parameters (a glob instead of many inputs)."
    }
  }
}

# At the hour at which a night must have succeeded this one fails where none has, which the alert hears.
resource "google_workflows_workflow" "watch" {
  project                 = var.project_id
  region                  = var.region
  name                    = "${var.name}-watch"
  description             = "Fails where no night has succeeded by its hour."
  service_account         = var.launcher_service_account
  source_contents         = file("${path.module}/watch.yaml")
  call_log_level          = "LOG_ERRORS_ONLY"
  execution_history_level = "EXECUTION_HISTORY_BASIC"
  crypto_key_name         = var.kms_key_name
  deletion_protection     = var.deletion_protection
  labels                  = var.labels

  user_env_vars = {
    NIGHTLY = google_workflows_workflow.nightly.id
    HOURS   = tostring(var.schedule.check_hours)
  }
}

# Starting either twice a night does no harm.
resource "google_cloud_scheduler_job" "start" {
  for_each = {
    nightly = { workflow = google_workflows_workflow.nightly, cron = var.schedule.cron }
    watch   = { workflow = google_workflows_workflow.watch, cron = var.schedule.check_cron }
  }

  project     = var.project_id
  region      = var.region
  name        = "${var.name}-${each.key}"
  description = "Starts ${each.value.workflow.name}."
  schedule    = each.value.cron
  time_zone   = var.schedule.time_zone
  paused      = var.schedule.paused

  # The request only starts an execution, it does not wait for it.
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 5
    min_backoff_duration = "30s"
    max_backoff_duration = "600s"
    max_doublings        = 4
  }

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${each.value.workflow.id}/executions"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode({ argument = jsonencode({}) }))

    oauth_token {
      service_account_email = var.scheduler_service_account
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}
