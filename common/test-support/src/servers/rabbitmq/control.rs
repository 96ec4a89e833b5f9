//! What can be done to a node that runs, by its own tool.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{MEMORY, RabbitMqServer};

/// Debian's wrapper, which is what `PATH` finds, insists on the users root or rabbitmq.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
/// Where a node has its port mapper.
const EPMD_PORT: &str = "ERL_EPMD_PORT";

impl RabbitMqServer {
    /// Makes the node short of memory, or ends that. Meanwhile it reads nothing from those who publish.
    ///
    /// # Errors
    /// It does not run, or does not answer.
    pub async fn set_memory_alarm(&self, on: bool) -> Result<()> {
        let watermark = if on { "1" } else { MEMORY };
        self.control(&["set_vm_memory_high_watermark", "absolute", watermark])
            .await
    }

    /// Takes the leader away from a quorum queue of the default virtual host, which then confirms nothing, or gives it
    /// one again. In a cluster, all nodes that have a member of the queue must run: none of them is to become its leader.
    ///
    /// # Errors
    /// It does not run, or has no such queue.
    pub async fn set_leader(&self, queue: &str, there: bool) -> Result<()> {
        let change = if there {
            "restart_server"
        } else {
            "stop_server"
        };
        let expression = format!(
            "{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)), \
             {{Name, _}} = amqqueue:get_pid(Queue), \
             #{{nodes := Nodes}} = amqqueue:get_type_state(Queue), \
             [ok = ra:{change}(quorum_queues, {{Name, Node}}) || Node <- Nodes]."
        );
        self.control(&["eval", &expression]).await
    }

    async fn control(&self, arguments: &[&str]) -> Result<()> {
        let data = &self.files.data;
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", data)
            .env(EPMD_PORT, self.epmd_port()?)
            .current_dir(data)
            .args(["--node", &self.node_name(), "--timeout", "30"])
            .args(arguments)
            .kill_on_drop(true);
        let output = command.output().await.context("cannot run rabbitmqctl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rabbitmqctl {arguments:?}: {said}");
        Ok(())
    }

    /// The port of the node's port mapper, which is another one after each start.
    fn epmd_port(&self) -> Result<String> {
        let node = self.process().context("RabbitMQ does not run")?;
        let environment = fs::read(format!("/proc/{}/environ", node.number()))?;
        let environment = String::from_utf8_lossy(&environment);
        let mut variables = environment
            .split('\0')
            .filter_map(|one| one.split_once('='));
        let port = variables.find(|(name, _)| *name == EPMD_PORT);
        let (_, port) = port.context("RabbitMQ has no port mapper")?;
        Ok(port.to_owned())
    }
}
