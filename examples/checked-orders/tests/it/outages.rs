//! RabbitMQ and PostgreSQL go away and come back.

use test_support::{Proxy, eventually};

use crate::fraud_check::{Replica, Saga, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_to_the_broker_is_made_again() {
    let world = World::new().await;
    let (proxy, rabbitmq) = Proxy::before(&world.env.rabbitmq_url()).await.unwrap();
    let _replica = Replica::start(rabbitmq.as_str(), world.database_url().as_str());
    for _ in 0..3 {
        world.send(&Saga::new().check("customer-1", "1.00")).await;
        world.reply().await;
        proxy.cut();
    }
    assert_eq!(world.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_commands_wait() {
    let world = World::new().await;
    let (proxy, database) = Proxy::before(world.database_url().as_str()).await.unwrap();
    let _replica = Replica::start(&world.env.rabbitmq_url(), database.as_str());
    world.send(&Saga::new().check("customer-1", "1.00")).await;
    world.reply().await;

    proxy.refuse(true);
    proxy.cut();
    world.send(&Saga::new().check("customer-1", "1.00")).await;
    eventually("it is taken", || world.waiting(), |waiting| *waiting == 0).await;
    assert_eq!(world.unread_replies().await, 0);
    proxy.heal();
    world.reply().await;
    assert_eq!(world.dead_letters().await, 0);
}
