mock_provider "google" {
  mock_data "google_storage_bucket_object_content" {
    defaults = {
      content = "{\"image\":\"europe-west1-docker.pkg.dev/p/r/beam-bert@sha256:0000000000000000000000000000000000000000000000000000000000000000\",\"sdkInfo\":{\"language\":\"PYTHON\"}}"
    }
  }
}

variables {
  template        = { bucket = "templates", object = "classify-1.json" }
  service_account = "beam-bert-worker@your-project.iam.gserviceaccount.com"
  temp_url        = "gs://temp/"
  subnetwork      = "regions/europe-west1/subnetworks/workers"
}

run "launcher_and_workers_have_the_templates_image_and_no_address" {
  assert {
    condition     = output.environment.sdkContainerImage == output.image && output.parameters.sdk_container_image == output.image
    error_message = "One image launches and works."
  }

  assert {
    condition     = output.environment.ipConfiguration == "WORKER_IP_PRIVATE"
    error_message = "Workers have no external address."
  }

  assert {
    condition     = output.environment.tempLocation == "gs://temp/temp" && output.environment.stagingLocation == "gs://temp/staging"
    error_message = "The worker's grants are for these two prefixes."
  }
}

run "an_image_that_is_named_by_a_tag_is_refused" {
  command = plan

  override_data {
    target = data.google_storage_bucket_object_content.template
    values = { content = "{\"image\":\"europe-west1-docker.pkg.dev/p/r/beam-bert:latest\",\"sdkInfo\":{\"language\":\"PYTHON\"}}" }
  }
  expect_failures = [data.google_storage_bucket_object_content.template]
}
