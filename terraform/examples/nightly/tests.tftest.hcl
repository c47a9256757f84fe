mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = { email = "account@your-project.iam.gserviceaccount.com", name = "projects/your-project/serviceAccounts/account" }
  }
  mock_resource "google_project_iam_custom_role" {
    defaults = { id = "projects/your-project/roles/custom" }
  }
  mock_resource "google_storage_bucket" {
    defaults = { url = "gs://bucket" }
  }
  mock_resource "google_bigquery_connection" {
    defaults = {
      name           = "projects/1/locations/europe-west1/connections/c"
      cloud_resource = { service_account_id = "bqcx-1@gcp-sa-bigquery-condel.iam.gserviceaccount.com" }
    }
  }
  mock_resource "google_workflows_workflow" {
    defaults = { id = "projects/your-project/locations/europe-west1/workflows/w" }
  }
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_data "google_storage_bucket_object_content" {
    defaults = {
      content = "{\"image\":\"europe-west1-docker.pkg.dev/p/r/beam-bert@sha256:0000000000000000000000000000000000000000000000000000000000000000\",\"sdkInfo\":{\"language\":\"PYTHON\"}}"
    }
  }
}
mock_provider "google-beta" {}

variables {
  project_id = "your-project"
}

run "before_the_first_build" {
  assert {
    condition     = output.workflow == null && strcontains(output.build_command, "--service-account=")
    error_message = "What needs a template waits for it."
  }
}

run "after_it" {
  command = plan

  variables {
    template = "classify-1f2e3d4.json"
    emails   = ["data-team@example.com"]
  }

  assert {
    condition     = module.flex_template["this"].environment.machineType == "n2-standard-4" && module.flex_template["this"].environment.diskSizeGb == 50
    error_message = "Dataflow's own default machine takes half a day for a night."
  }
}

run "with_a_key_a_gpu_and_a_budget" {
  variables {
    template     = "classify-1f2e3d4.json"
    gpu          = "nvidia-l4"
    kms_key_name = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    budget       = { billing_account = "000000-000000-000000", amount = 200 }
  }

  assert {
    condition     = module.flex_template["this"].environment.diskSizeGb == 100
    error_message = "CUDA takes more disk."
  }
}

run "with_training" {
  command = plan

  variables {
    template = "classify-1f2e3d4.json"
    training = {
      train_command    = ["train"]
      evaluate_command = ["evaluate"]
      promote_command  = ["promote"]
    }
  }
}
