mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = { email = "account@your-project.iam.gserviceaccount.com", name = "projects/your-project/serviceAccounts/account" }
  }
  mock_resource "google_project_iam_custom_role" {
    defaults = { id = "projects/your-project/roles/custom" }
  }
}

variables {
  project_id = "your-project"
  buckets    = { raw = "raw", models = "models", templates = "templates", output = "output", temp = "temp" }
  repository = { location = "europe-west1", repository_id = "beam-bert" }

  output_prefix = "documents/"
}

run "no_worker_may_touch_objects_by_a_role_of_the_project" {
  assert {
    condition     = alltrue([for permission in google_project_iam_custom_role.worker.permissions : !startswith(permission, "storage.")])
    error_message = "A project role with storage rights reaches the models."
  }

  assert {
    condition     = google_project_iam_member.project["worker works"].role == google_project_iam_custom_role.worker.id
    error_message = "The worker has the custom role."
  }
}

run "in_temp_the_worker_does_not_reach_what_the_builder_builds" {
  assert {
    condition     = strcontains(google_storage_bucket_iam_member.buckets["worker writes temp"].condition[0].expression, "resource.name.startsWith(\"projects/_/buckets/temp/objects/temp/\")")
    error_message = "The worker's grant is for its own prefixes."
  }

  assert {
    condition     = !strcontains(google_storage_bucket_iam_member.buckets["worker writes temp"].condition[0].expression, "source/")
    error_message = "Sources of builds are not the worker's."
  }

  assert {
    condition     = strcontains(google_storage_bucket_iam_member.buckets["worker writes output"].condition[0].expression, "/objects/documents/")
    error_message = "In the output it writes below the prefix."
  }
}

run "the_published_role_can_be_had_back" {
  variables {
    worker_role = "roles/dataflow.worker"
  }
  assert {
    condition     = google_project_iam_member.project["worker works"].role == "roles/dataflow.worker"
    error_message = "worker_role takes the custom role's place."
  }
}
