# There is no resource for the job itself: google_dataflow_flex_template_job makes a finished batch job
# anew at every apply. A job is launched by whoever needs one (module nightly, or gcloud) with what
# this module gives: a template file that was checked, and the environment it runs in.

locals {
  spec  = jsondecode(data.google_storage_bucket_object_content.template.content)
  image = try(local.spec.image, "")

  environment = {
    serviceAccountEmail               = var.service_account
    tempLocation                      = "${trimsuffix(var.temp_url, "/")}/temp"
    stagingLocation                   = "${trimsuffix(var.temp_url, "/")}/staging"
    subnetwork                        = var.subnetwork
    ipConfiguration                   = "WORKER_IP_PRIVATE"
    machineType                       = var.workers.machine_type
    numWorkers                        = var.workers.initial
    maxWorkers                        = var.workers.maximum
    diskSizeGb                        = var.workers.disk_gb
    launcherMachineType               = var.workers.launcher_machine_type
    sdkContainerImage                 = local.image
    additionalExperiments             = length(var.experiments) == 0 ? null : var.experiments
    additionalUserLabels              = var.labels
    kmsKeyName                        = var.kms_key_name
    enableLauncherVmSerialPortLogging = true
  }
}

data "google_storage_bucket_object_content" "template" {
  bucket = var.template.bucket
  name   = var.template.object

  lifecycle {
    postcondition {
      condition     = can(regex("@sha256:[0-9a-f]{64}$", jsondecode(self.content).image))
      error_message = "The template's image is not given by its digest; write it with python -m beam_bert.jobs.flex_template --image NAME@sha256:…"
    }

    postcondition {
      condition     = try(jsondecode(self.content).sdkInfo.language, "") == "PYTHON"
      error_message = "This is not a template of a Python job."
    }
  }
}
