locals {
  accounts = {
    worker    = "Dataflow's launcher and worker machines: read raw text and models, write output."
    trainer   = "Training jobs on Vertex AI: read labelled rows, write models."
    launcher  = "The nightly workflow: starts jobs and reads how they ended."
    scheduler = "Cloud Scheduler: starts the nightly workflow and nothing else."
    builder   = "Cloud Build: writes images and template files."
  }
  members = {
    for purpose, account in google_service_account.accounts : purpose => "serviceAccount:${account.email}"
  }
}

resource "google_service_account" "accounts" {
  for_each = local.accounts

  project      = var.project_id
  account_id   = "${var.name}-${each.key}"
  display_name = "beam_bert ${each.key}"
  description  = each.value
}
