mock_provider "google" {}

variables {
  project_id                = "your-project"
  region                    = "europe-west1"
  launcher_service_account  = "beam-bert-launcher@your-project.iam.gserviceaccount.com"
  scheduler_service_account = "beam-bert-scheduler@your-project.iam.gserviceaccount.com"
  template = {
    container_spec_gcs_path = "gs://templates/classify-1.json"
    environment             = { maxWorkers = 10 }
    parameters              = { sdk_container_image = "image@sha256:0" }
  }
  classify = { input = "gs://raw/incoming/*.jsonl", output = "gs://out/documents", model = "sentiment-small-en" }
}

run "without_training_the_night_classifies" {
  assert {
    condition     = jsondecode(google_workflows_workflow.nightly.user_env_vars.TRAINING).enabled == false
    error_message = "No commands, no training."
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.nightly.user_env_vars.CLASSIFY).parameters.incremental == "true"
    error_message = "Nothing moves delivered documents away: a night reads what is new."
  }

  assert {
    condition     = google_workflows_workflow.watch.user_env_vars.NIGHTLY == google_workflows_workflow.nightly.id
    error_message = "The watch looks at this workflow's executions."
  }
}

run "training_leaves_the_classification_time_and_uses_the_key" {
  variables {
    kms_key_name = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    training = {
      image            = "image@sha256:0000000000000000000000000000000000000000000000000000000000000000"
      service_account  = "trainer@your-project.iam.gserviceaccount.com"
      bucket           = "models"
      train_command    = ["train"]
      evaluate_command = ["evaluate"]
      promote_command  = ["promote"]
    }
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.nightly.user_env_vars.TRAINING).deadline_s < jsondecode(google_workflows_workflow.nightly.user_env_vars.SETTINGS).deadline_s
    error_message = "The refresh has an earlier deadline."
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.nightly.user_env_vars.TRAINING).encryption.encryptionSpec.kmsKeyName == var.kms_key_name
    error_message = "The training jobs are encrypted with the key too."
  }
}

run "a_night_that_reads_everything_has_to_be_asked_for" {
  command = plan
  variables {
    classify = { input = "gs://raw/incoming/*.jsonl", output = "gs://out/documents", model = "sentiment-small-en", incremental = "false" }
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.nightly.user_env_vars.CLASSIFY).parameters.incremental == "false"
    error_message = "What is given wins."
  }
}

run "a_training_as_long_as_the_night_is_refused" {
  command = plan
  variables {
    training = {
      image            = "image@sha256:0000000000000000000000000000000000000000000000000000000000000000"
      service_account  = "trainer@your-project.iam.gserviceaccount.com"
      bucket           = "models"
      train_command    = ["train"]
      evaluate_command = ["evaluate"]
      promote_command  = ["promote"]
      deadline_hours   = 8
    }
  }
  expect_failures = [var.training]
}

run "a_night_is_not_called_late_before_its_deadline" {
  command = plan
  variables {
    schedule = { check_hours = 6 }
  }
  expect_failures = [var.schedule]
}
