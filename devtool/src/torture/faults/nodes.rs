//! What is done to nodes of RabbitMQ, where it is a cluster.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use test_support::servers::RabbitMqServer;
use tokio::time::sleep;

use super::Torturer;
use crate::torture::fault::NodeFault;

impl Torturer<'_> {
    pub(super) async fn befall_nodes(&self, fault: NodeFault) -> Result<()> {
        // One thing at a time, so that no more nodes are away than is meant.
        let _turn = self.broker_turn().await;
        befall(self.system.servers.rabbitmq.nodes(), fault).await?;
        self.wipe_if_ruined().await
    }
}

async fn befall(nodes: &[RabbitMqServer], fault: NodeFault) -> Result<()> {
    match fault {
        NodeFault::Kill { node, down } => restart(&[&nodes[node]], down).await?,
        NodeFault::Pause { node, lasts } => {
            nodes[node].pause()?;
            sleep(lasts).await;
            nodes[node].resume()?;
        }
        NodeFault::Restart => {
            for node in nodes {
                node.stop().await?;
                node.start().await?;
            }
        }
        NodeFault::LoseMajority { survivor, down } => {
            let others = nodes.iter().enumerate().filter(|(n, _)| *n != survivor);
            let others: Vec<_> = others.map(|(_, node)| node).collect();
            restart(&others, down).await?;
        }
    }
    Ok(())
}

/// Kills nodes, and starts them again after `down`.
async fn restart(nodes: &[&RabbitMqServer], down: Duration) -> Result<()> {
    try_join_all(nodes.iter().map(|node| node.kill())).await?;
    sleep(down).await;
    try_join_all(nodes.iter().map(|node| node.start())).await?;
    Ok(())
}
